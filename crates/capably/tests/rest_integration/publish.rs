//! Publishing.

use std::{collections::HashSet, time::Duration};

use capably::{Message, TokenParams};
use serde_json::json;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: rest/integration/RSL1d/publish-failure-error-0
    async fn a_key_without_the_capability_is_refused(app) {
        let rest = app.rest_with(|options| options.key(app.key(2)));
        let channel = rest.channels().get("forbidden-channel");
        let error = channel.publish("event", "data").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40160, Some(401)), "{error}");
        rest.channels().get("channel2").publish("event", "data").await.unwrap();
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL1n/publish-result-serials-0
    async fn publishing_returns_unique_serials(app) {
        expect_unique_serials(&app.rest().channels().get("test-serials")).await;
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL1k5/idempotent-client-ids-0
    async fn publishing_the_same_id_again_has_no_effect(app) {
        let channel = app.rest().channels().get("idempotent-explicit");
        for data in ["data-1", "data-2", "data-3"] {
            channel.publish("event", data).id("client-supplied-id").await.unwrap();
        }
        let page = channel.history().await.unwrap();
        let [message] = page.items() else { panic!("{page:?}") };
        assert_eq!(message.id.as_deref(), Some("client-supplied-id"));
        assert_eq!(message.data.as_str(), Some("data-1"));
    }
}

in_both_formats! {
    // Spec: RSL1k1, RSL1k5
    async fn publishing_several_with_the_same_id_again_has_no_effect(app) {
        let channel = app.rest().channels().get("idempotent-batch");
        for data in ["first", "second"] {
            let messages = ["a", "b"].map(|name| Message::new(name, data));
            channel.publish_messages(messages).id("x").await.unwrap();
        }
        let page = channel.history().await.unwrap();
        let [b, a] = page.items() else { panic!("{page:?}") };
        assert_eq!((a.id.as_deref(), a.data.as_str()), (Some("x:0"), Some("first")));
        assert_eq!((b.id.as_deref(), b.data.as_str()), (Some("x:1"), Some("first")));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL1l1/publish-params-force-nack-0
    async fn params_reach_the_service(app) {
        let channel = app.rest().channels().get("force-nack-test");
        let publish = channel.publish_message(Message::new("event", "data"));
        let error = publish.param("_forceNack", "true").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40099, Some(400)), "{error}");
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL1m4/clientid-mismatch-rejected-0
    async fn a_token_s_client_cannot_publish_as_another(app) {
        let params = TokenParams::new().client_id("authenticated-client-id");
        let details = app.rest().auth().request_token().params(params).await.unwrap();
        let rest = app.rest_with(|options| options.token(details.token.to_string()));
        let channel = rest.channels().get("clientid-mismatch");
        let publish = channel.publish("event", "data").client_id("different-client-id");
        let error = publish.await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40012, Some(400)), "{error}");
    }
}

in_both_formats! {
    // Spec: RSL1m1, RSL1m2, RSL1m4
    async fn a_client_id_is_stamped_on_messages(app) {
        let rest = app.rest_with(|options| options.key(app.key(0)).client_id("ada"));
        let channel = rest.channels().get("identified");
        channel.publish("event", ()).await.unwrap();
        channel.publish("event", ()).client_id("ada").await.unwrap();
        let page = channel.history().await.unwrap();
        let clients: Vec<_> = page.items().iter().map(|item| item.client_id.as_deref()).collect();
        assert_eq!(clients, [Some("ada"), Some("ada")]);

        let error = channel.publish("event", ()).client_id("someone-else").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40012, Some(400)));
    }
}

in_both_formats! {
    // Spec: RSL1, RSL1b, RSL1m3
    async fn a_message_keeps_its_fields(app) {
        let channel = app.rest().channels().get("fields");
        let extras = json!({"headers": {"a": 1}});
        let published = channel.publish("name", "data").id("my-id").client_id("ada");
        published.extras(extras.as_object().cloned().unwrap()).await.unwrap();
        let page = channel.history().await.unwrap();
        let [message] = page.items() else { panic!("{page:?}") };
        assert_eq!(message.id.as_deref(), Some("my-id"));
        assert_eq!(message.name.as_deref(), Some("name"));
        assert_eq!(message.client_id.as_deref(), Some("ada"));
        assert_eq!(message.extras.as_ref(), extras.as_object());
        assert!(message.timestamp.is_some_and(|timestamp| (now() - timestamp).abs() < 60_000));
    }
}

in_both_formats! {
    async fn many_publishes_at_once_all_arrive(app) {
        let channel = app.rest().channels().get("many");
        let publishes = (0..64).map(|n| {
            let publish = channel.publish(format!("n{n}"), vec![0; 300]);
            async move { publish.await.map(|_| ()) }
        });
        let publishes = futures_util::future::try_join_all(publishes);
        tokio::time::timeout(Duration::from_secs(30), publishes).await.expect("in time").unwrap();
        let page = channel.history().await.unwrap();
        assert_eq!(names(page.items()).into_iter().collect::<HashSet<_>>().len(), 64);
    }
}
