//! Presence, read over REST.

use std::collections::HashSet;

use capably::{
    Channel, Data, PresenceAction, PresenceMessage, Realtime,
    rest::{ChannelOptions, Direction, Query},
};
use serde_json::json;

use crate::{
    in_both_formats,
    support::{App, *},
};

fn clients(members: &[PresenceMessage]) -> HashSet<&str> {
    members.iter().map(|member| member.client_id.as_deref().expect("a client id")).collect()
}

const MEMBERS: [&str; 6] = [
    "client_bool",
    "client_decoded",
    "client_encoded",
    "client_int",
    "client_json",
    "client_string",
];

in_both_formats! {
    // UTS: rest/integration/RSP1/access-presence-from-channel-0
    // UTS: rest/integration/RSP3/get-presence-members-0
    async fn members_are_read_from_the_channel_s_presence(app) {
        let presence = app.rest().channels().get(PRESENCE_FIXTURES).presence();
        let page = presence.get().await.unwrap();
        assert_eq!(page.items().len(), 6);
        assert_eq!(clients(page.items()), HashSet::from(MEMBERS));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP3/presence-message-fields-1
    async fn a_member_has_its_fields(app) {
        let presence = app.rest().channels().get(PRESENCE_FIXTURES).presence();
        let page = presence.get().await.unwrap();
        let is = |member: &&PresenceMessage| member.client_id.as_deref() == Some("client_string");
        let member = page.items().iter().find(is).expect("the member");
        assert_eq!(member.action, Some(PresenceAction::Present));
        assert_eq!(member.data.as_str(), Some("This is a string clientData payload"));
        assert!(member.connection_id.is_some());
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP3a1/get-with-limit-0
    async fn a_page_of_members_has_a_limit(app) {
        let presence = app.rest().channels().get(PRESENCE_FIXTURES).presence();
        let page = presence.get().limit(2).await.unwrap();
        assert_eq!((page.items().len(), page.has_next()), (2, true));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP3a2/get-with-clientid-filter-0
    async fn members_can_be_selected_by_client(app) {
        let presence = app.rest().channels().get(PRESENCE_FIXTURES).presence();
        let page = presence.get().client_id("client_json").await.unwrap();
        let [member] = page.items() else { panic!("{page:?}") };
        assert_eq!(member.client_id.as_deref(), Some("client_json"));
        let text = "{ \"test\": \"This is a JSONObject clientData payload\"}";
        assert_eq!(member.data, Data::from(text));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP3/get-empty-channel-2
    async fn an_unused_channel_has_no_members(app) {
        let page = app.rest().channels().get("presence-empty").presence().get().await.unwrap();
        assert!(page.items().is_empty());
        assert!(!page.has_next());
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP5/decode-string-data-0
    async fn text_of_a_member_is_text(app) {
        let presence = app.rest().channels().get(PRESENCE_FIXTURES).presence();
        let page = presence.get().client_id("client_string").await.unwrap();
        let [member] = page.items() else { panic!("{page:?}") };
        assert_eq!(member.data, Data::from("This is a string clientData payload"));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP5/decode-json-data-1
    async fn json_of_a_member_is_decoded(app) {
        let presence = app.rest().channels().get(PRESENCE_FIXTURES).presence();
        let page = presence.get().client_id("client_decoded").await.unwrap();
        let [member] = page.items() else { panic!("{page:?}") };
        assert_eq!(member.data, Data::Json(json!({"example": {"json": "Object"}})));
        assert_eq!(member.encoding, None);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP5/decode-encrypted-data-2
    async fn encrypted_data_of_a_member_is_decrypted(app) {
        let options = ChannelOptions::default().cipher(fixture_cipher());
        let channel = app.rest().channels().get_with(PRESENCE_FIXTURES, options);
        let page = channel.presence().get().client_id("client_encoded").await.unwrap();
        let [member] = page.items() else { panic!("{page:?}") };
        assert_eq!(member.data, Data::Json(json!({"example": {"json": "Object"}})));
        assert_eq!(member.encoding, None);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP3/full-pagination-3
    async fn pages_together_contain_all_members_once(app) {
        let presence = app.rest().channels().get(PRESENCE_FIXTURES).presence();
        let mut page = presence.get().limit(2).await.unwrap();
        let mut members = page.items().to_vec();
        while let Some(next) = page.next().await.unwrap() {
            members.extend_from_slice(next.items());
            page = next;
        }
        assert_eq!(members.len(), 6);
        assert_eq!(clients(&members), HashSet::from(MEMBERS));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP3/invalid-credentials-rejected-4
    async fn a_key_of_no_app_is_refused(app) {
        let rest = app.rest_with(|options| options.key("invalid.key:secret"));
        let error = rest.channels().get("test").presence().get().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40101, Some(401)), "{error}");
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP3/subscribe-capability-sufficient-5
    async fn the_subscribe_capability_is_enough_to_read_members(app) {
        let rest = app.rest_with(|options| options.key(app.key(3)));
        let presence = rest.channels().get(PRESENCE_FIXTURES).presence();
        assert_eq!(presence.get().await.unwrap().items().len(), 6);
    }
}

/// A connected client with this id, and its channel.
async fn member(app: &App, client_id: &str, channel: &str) -> (Realtime, Channel) {
    let realtime = app.realtime_with(|options| options.key(app.key(0)).client_id(client_id)).await;
    let channel = realtime.channels().get(channel);
    (realtime, channel)
}

/// The presence history of a channel, as another client reads it.
fn history(app: &App, channel: &str) -> Query<PresenceMessage> {
    app.rest().channels().get(channel).presence().history()
}

fn data(items: &[PresenceMessage]) -> Vec<&str> {
    items.iter().map(|item| item.data.as_str().expect("text")).collect()
}

in_both_formats! {
    // UTS: rest/integration/RSP4/history-returns-events-0
    async fn history_has_the_actions_of_members(app) {
        let (realtime, channel) = member(&app, "test-client", "presence-history").await;
        channel.presence().enter().data("entered").await.unwrap();
        channel.presence().update().data("updated").await.unwrap();
        channel.presence().leave().data("left").await.unwrap();
        realtime.close().await;

        let page = history(&app, "presence-history").await.unwrap();
        assert_eq!(data(page.items()), ["left", "updated", "entered"]);
        let actions: Vec<_> = page.items().iter().filter_map(|item| item.action).collect();
        use PresenceAction::{Enter, Leave, Update};
        assert_eq!(actions, [Leave, Update, Enter]);
        assert_eq!(clients(page.items()), HashSet::from(["test-client"]));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP4b1/history-time-range-0
    async fn history_of_members_is_bounded_by_time(app) {
        let before = now();
        let (realtime, channel) = member(&app, "time-test-client", "presence-history-time").await;
        channel.presence().enter().data("test").await.unwrap();
        channel.presence().leave().await.unwrap();
        realtime.close().await;
        let after = now();

        let query = || history(&app, "presence-history-time");
        assert_eq!(query().start(before).end(after).await.unwrap().items().len(), 2);
        assert_eq!(query().end(before - 1).await.unwrap().items().len(), 0);
        assert_eq!(query().start(after + 1).await.unwrap().items().len(), 0);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP4b2/history-direction-forwards-0
    // Spec: RSP4b
    async fn history_of_members_has_a_direction(app) {
        let (realtime, channel) = member(&app, "direction-client", "presence-direction").await;
        channel.presence().enter().data("first").await.unwrap();
        channel.presence().update().data("second").await.unwrap();
        channel.presence().update().data("third").await.unwrap();
        realtime.close().await;

        let forwards = history(&app, "presence-direction").direction(Direction::Forwards);
        let forwards = forwards.await.unwrap();
        assert_eq!(data(&forwards.items()[..3]), ["first", "second", "third"]);
        let backwards = history(&app, "presence-direction").direction(Direction::Backwards);
        let backwards = backwards.await.unwrap();
        assert_eq!(backwards.items()[0].data.as_str(), Some("third"));
        assert_eq!(backwards.items().last().unwrap().data.as_str(), Some("first"));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP4b3/history-limit-pagination-0
    async fn history_of_members_has_pages(app) {
        let (realtime, channel) = member(&app, "limit-client", "presence-limit").await;
        for n in 1..=5 {
            channel.presence().update().data(format!("update-{n}")).await.unwrap();
        }
        realtime.close().await;

        let first = history(&app, "presence-limit").limit(2).await.unwrap();
        assert_eq!((first.items().len(), first.has_next()), (2, true));
        let second = first.next().await.unwrap().expect("a second page");
        assert_eq!(second.items().len(), 2);
        let ids: HashSet<_> =
            first.items().iter().chain(second.items()).map(|item| item.id.clone()).collect();
        assert_eq!(ids.len(), 4);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSP5/decode-history-messages-3
    async fn history_of_members_is_decoded(app) {
        let (realtime, channel) = member(&app, "decode-client", "presence-decode-history").await;
        let payload = json!({"key": "value", "number": 123});
        channel.presence().enter().data(payload.clone()).await.unwrap();
        realtime.close().await;
        let page = history(&app, "presence-decode-history").await.unwrap();
        for item in page.items() {
            assert_eq!((&item.data, &item.encoding), (&Data::Json(payload.clone()), &None));
        }
        assert_eq!(page.items().last().unwrap().action, Some(PresenceAction::Enter));
    }
}
