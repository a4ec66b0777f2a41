//! Presence history, over REST (RTP12).

use std::sync::Arc;

use capably::{
    PresenceAction::{Enter, Leave, Update},
    rest::Direction,
};
use serde_json::json;

use crate::{http::scripted_http::*, in_both_formats, support::connected_with};

in_both_formats! {
    // UTS: realtime/unit/RTP12a/history-supports-rest-params-0
    async fn presence_history_is_requested_over_rest(format) {
        let http = Arc::new(ScriptedHttp::always(respond(200, json!([]))));
        let (client, _service, _peer) =
            connected_with(format, |options| options.http_client(http.clone())).await;
        let channel = client.channels().get("a/ch?");
        let page = channel
            .presence()
            .history()
            .start(1000)
            .end(2000)
            .direction(Direction::Backwards)
            .limit(50)
            .await
            .unwrap();
        assert_eq!(page.items(), []);
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", "/channels/a%2Fch%3F/presence/history"));
        for (name, value) in
            [("start", "1000"), ("end", "2000"), ("direction", "backwards"), ("limit", "50")]
        {
            assert_eq!(request.param(name).as_deref(), Some(value), "{name}");
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP12c/history-returns-paginated-result-0
    // Spec: RTP12
    async fn presence_history_has_pages(format) {
        let did = |action: u32, timestamp: u32| {
            json!({ "action": action, "clientId": "alice", "timestamp": timestamp })
        };
        let events = json!([did(2, 1000), did(4, 2000), did(3, 3000)]);
        let http = Arc::new(ScriptedHttp::always(respond(200, events)));
        let (client, _service, _peer) =
            connected_with(format, |options| options.http_client(http.clone())).await;
        let page = client.channels().get("ch").presence().history().await.unwrap();
        let actions: Vec<_> = page.items().iter().map(|item| item.action.unwrap()).collect();
        assert_eq!(actions, [Enter, Update, Leave]);
        assert!(page.items().iter().all(|item| item.client_id.as_deref() == Some("alice")));
        assert!(!page.has_next());
        assert_eq!(http.requests().len(), 1);
    }
}
