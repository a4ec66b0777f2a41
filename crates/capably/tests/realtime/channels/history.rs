//! History of a realtime channel (RTL10).

use std::sync::Arc;

use capably::{
    Realtime,
    crypto::{CipherParamOptions, default_params},
    realtime::{ChannelState, RealtimeChannelOptions},
    rest::Direction,
};
use capably_protocol::{Flags, Format};
use serde_json::{Value, json};

use crate::{http::scripted_http::*, in_both_formats, support::*};

async fn answering(format: Format, body: Value) -> (Arc<ScriptedHttp>, Realtime, Service, Peer) {
    let http = Arc::new(ScriptedHttp::always(respond(200, body)));
    let (client, service, peer) =
        connected_with(format, |options| options.http_client(http.clone())).await;
    (http, client, service, peer)
}

in_both_formats! {
    // UTS: realtime/unit/RTL10a/supports-rest-params-0
    // Spec: RTL10, RTL10c
    async fn history_has_the_parameters_of_rest(format) {
        let body = json!([
            { "name": "two", "data": "{\"n\":2}", "encoding": "json", "timestamp": 2000 },
            { "name": "one", "data": "1", "timestamp": 1000 },
        ]);
        let (http, client, _service, mut peer) = answering(format, body).await;
        let channel = client.channels().get("a/ch?");
        let page = channel
            .history()
            .start(1000)
            .end(2000)
            .direction(Direction::Backwards)
            .limit(50)
            .await
            .unwrap();
        let names: Vec<_> = page.items().iter().map(|item| item.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["two", "one"]);
        assert_eq!(page.items()[0].data.as_json(), Some(&json!({ "n": 2 })));
        assert_eq!(page.items()[1].timestamp, Some(1000));
        assert!(!page.has_next());
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", "/channels/a%2Fch%3F/messages"));
        for (name, value) in
            [("start", "1000"), ("end", "2000"), ("direction", "backwards"), ("limit", "50")]
        {
            assert_eq!(request.param(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(request.param("fromSerial"), None);
        // Invalid parameters are refused as over REST, and the channel is not affected.
        assert_eq!(code(channel.history().limit(1001).await), 40003);
        assert_eq!(channel.state(), ChannelState::Initialized);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTL10a
    async fn history_is_decrypted_with_the_current_options(format) {
        let encrypted = json!([{
            "name": "n", "data": "HO4cYSP8LybPYBPZPHQOtmHItcxYdSvcNUC6kXVpMn0VFL+9z2/5tJ6WFbR0SBT1xhFRuJ+MeBGTU3yOY9P5ow==",
            "encoding": "utf-8/cipher+aes-128-cbc/base64",
        }]);
        let (_http, client, _service, _peer) = answering(format, encrypted).await;
        let channel = client.channels().get("ch");
        let page = channel.history().await.unwrap();
        assert_eq!(page.items()[0].encoding.as_deref(), Some("utf-8/cipher+aes-128-cbc"));
        let cipher = default_params(&CipherParamOptions::new("WUP6u0K7MXI5Zeo0VppPwg==")).unwrap();
        channel.set_options(RealtimeChannelOptions::new().cipher(cipher)).await.unwrap();
        let page = channel.history().await.unwrap();
        assert_eq!(page.items()[0].data.as_str(), Some("The quick brown fox jumped over the lazy dog"));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL10b/adds-from-serial-0
    async fn until_attach_ends_history_at_the_attachment(format) {
        let (http, client, _service, mut peer) = answering(format, json!([])).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(attached_with("ch", |attached| attached.channel_serial = Some("serial-abc:0".into())));
        attaching.await.unwrap().unwrap();
        let page = channel.history_until_attach().limit(10).await.unwrap();
        assert_eq!(page.items(), []);
        let request = http.request();
        assert_eq!(request.path(), "/channels/ch/messages");
        assert_eq!(request.param("fromSerial").as_deref(), Some("serial-abc:0"));
        assert_eq!(request.param("limit").as_deref(), Some("10"));
        // The end moves when continuity is lost, and not with an ATTACHED that resumes.
        for (serial, flags) in [("serial-def:0", Flags::NONE), ("serial-ghi:0", Flags::RESUMED)] {
            peer.send(attached_with("ch", |attached| {
                attached.channel_serial = Some(serial.into());
                attached.flags = flags;
            }));
            quiet(&client, &mut peer).await;
            channel.history_until_attach().await.unwrap();
            let request = http.requests().pop().unwrap();
            assert_eq!(request.param("fromSerial").as_deref(), Some("serial-def:0"));
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL10b/errors-when-not-attached-1
    async fn until_attach_needs_an_attached_channel(format) {
        let (http, client, mut service, mut peer) = answering(format, json!([])).await;
        let channel = client.channels().get("ch");
        assert_eq!(channel.state(), ChannelState::Initialized);
        assert_eq!(code(channel.history_until_attach().await), 90001);
        attach(&channel, &mut peer).await;
        channel.history_until_attach().await.unwrap();
        // It fails while the channel is detaching, detached or attaching again.
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        assert_eq!(code(channel.history_until_attach().await), 90001);
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        assert_eq!(code(channel.history_until_attach().await), 90001);
        attach(&channel, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        peer.expect_attach("ch").await;
        assert_eq!(code(channel.history_until_attach().limit(5).await), 90001);
        assert_eq!(http.requests().len(), 1);
    }
}
