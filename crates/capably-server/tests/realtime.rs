//! The realtime protocol over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use capably_protocol::{
    ClientFrame, Data, Flags, Format, Message, MessageAction, ServerFrame, Str, codec,
    frame::Attach,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message as WsMessage;

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

#[tokio::test]
async fn each_subscriber_receives_a_message_in_its_own_format() {
    let server = server().await;
    for (from, to) in FORMATS.into_iter().flat_map(|from| FORMATS.map(|to| (from, to))) {
        let (mut publisher, connected) = Client::connect(&server, from).await;
        let (mut subscriber, _) = Client::connect(&server, to).await;
        let channel = format!("ünï:{from:?}→{to:?} 🚀");
        let attached = subscriber.attach(&channel).await;
        assert_eq!(attached.channel, channel);

        // The frame of the client, and its delivery to a subscriber in MessagePack.
        let payloads = [
            (Data::from("text"), Some("plain")),
            (Data::from(&b"valid UTF-8"[..]), None),
            (Data::from(&[0xff, 0x00, 0xfe][..]), None),
            (Data::from(&b""[..]), None),
            (Data::from(r#"{"a":[1,"ü"]}"#), Some("json")),
            (Data::None, None),
        ];
        for (msg_serial, (data, encoding)) in payloads.iter().enumerate() {
            let message = Message {
                name: Some("event".into()),
                data: data.clone(),
                encoding: encoding.map(Into::into),
                extras: Some(json!({"headers": {"a": 1}}).as_object().unwrap().clone()),
                ..Message::default()
            };
            let msg_serial = msg_serial as u64;
            publisher.publish(&channel, msg_serial, vec![message]).await;
            let ack = publisher.ack().await;
            assert_eq!((ack.msg_serial, ack.count), (msg_serial, 1));

            let delivery = subscriber.message().await;
            let id = connected.connection_id.as_ref().unwrap();
            assert_eq!(delivery.channel, channel);
            assert_eq!(delivery.id.unwrap(), format!("{id}:{msg_serial}"));
            assert_eq!(delivery.connection_id.as_ref(), Some(id));
            assert!(delivery.timestamp.is_some());
            let [message] = &delivery.items[..] else { panic!("{:?}", delivery.items) };
            assert_eq!(message.name.as_deref(), Some("event"));
            assert_eq!(message.action, Some(MessageAction::Create));
            assert_eq!(serials(&ack), [message.serial.as_deref().unwrap()]);
            let version = message.version();
            assert_eq!(version.serial, message.serial);
            assert_eq!(version.timestamp, delivery.timestamp);
            assert_eq!(message.extras.as_ref().unwrap()["headers"], json!({"a": 1}));

            let mut received = (message.data.clone(), message.encoding.clone());
            capably_protocol::encoding::strip_base64(&mut received.0, &mut received.1).unwrap();
            assert_eq!(received, (data.clone(), encoding.map(Into::into)), "{from:?} → {to:?}");
            let in_base64 = message.encoding.as_deref() == Some("base64");
            let binary = matches!(data, Data::Binary(_));
            assert_eq!(in_base64 && to == Format::Json, binary && to == Format::Json);
        }
    }
}

#[tokio::test]
async fn connected_contains_all_connection_details() {
    let server = builder()
        .connection_state_ttl(Duration::from_secs(7))
        .max_idle_interval(Duration::from_secs(9))
        .max_message_size(1234)
        .max_frame_size(56_789)
        .start()
        .await
        .unwrap();
    let (_client, connected) =
        Client::connect_with(&server, Format::Json, "clientId=m%C3%A9&foo=bar").await;
    let id = connected.connection_id.unwrap();
    let is_of = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    assert!(is_of(&id, "_-"), "{id}");
    assert_eq!(connected.error, None);
    let details = connected.details.unwrap();
    assert!(is_of(&details.connection_key.unwrap(), "_!-"));
    assert_eq!(details.client_id.as_deref(), Some("mé"));
    assert_eq!(details.connection_state_ttl, Some(7000));
    assert_eq!(details.max_idle_interval, Some(9000));
    assert_eq!(details.max_message_size, Some(1234));
    assert_eq!(details.max_frame_size, Some(56_789));
    assert_eq!(details.objects_gc_grace_period, Some(86_400_000));
    assert!(details.server_id.is_some() && details.site_code.is_some());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_resumed_client_receives_the_missed_messages() {
    for format in FORMATS {
        let server = server().await;
        let (mut publisher, _) = Client::connect(&server, format).await;
        let (mut subscriber, connected) = Client::connect(&server, format).await;
        subscriber.attach("a").await;
        let mut publish = async |from: u64, to: u64| {
            for number in from..to {
                let message = Message::new("m", number.to_string());
                publisher.publish("a", number, vec![message]).await;
            }
            let mut acknowledged = from;
            while acknowledged < to {
                let ack = publisher.ack().await;
                assert_eq!(ack.msg_serial, acknowledged);
                acknowledged += ack.count;
            }
        };
        publish(0, 10).await;
        let mut serial = None;
        for number in 0..5 {
            let delivery = subscriber.message().await;
            assert_eq!(delivery.items[0].data, Data::from(number.to_string()));
            serial = delivery.channel_serial;
        }
        // Frames 5 to 9 are in flight when the socket breaks without a close frame.
        drop(subscriber);
        publish(10, 20).await;
        let key = connected.details.unwrap().connection_key.unwrap();
        let (mut again, resumed) =
            Client::connect_with(&server, format, &format!("resume={key}")).await;
        assert_eq!(resumed.connection_id, connected.connection_id);
        assert_eq!(resumed.error, None);
        publish(20, 30).await;
        let attach = Attach { channel: "a".into(), channel_serial: serial, ..Attach::default() };
        let attached = again.attach_with(attach).await;
        assert!(attached.flags.contains(Flags::RESUMED));
        publish(30, 40).await;
        for number in 5..40 {
            let delivery = again.message().await;
            assert_eq!(delivery.items[0].data, Data::from(number.to_string()));
        }
    }
}

#[tokio::test]
async fn a_publish_repeated_after_a_resume_has_the_same_acknowledgement() {
    let server = server().await;
    let (mut first, connected) = Client::connect(&server, Format::MsgPack).await;
    first.publish("a", 0, vec![Message::new("m", "0"), Message::new("m", "1")]).await;
    let lost = first.ack().await;
    let key = connected.details.unwrap().connection_key.unwrap();
    // The new socket replaces the old one, which is still open.
    let (mut second, resumed) =
        Client::connect_with(&server, Format::MsgPack, &format!("recover={key}")).await;
    assert_eq!(resumed.connection_id, connected.connection_id);
    assert!(matches!(first.event().await, Event::End));
    second.publish("a", 0, vec![Message::new("m", "0"), Message::new("m", "1")]).await;
    assert_eq!(second.ack().await, lost);
    let history = request(&server, "GET", "/channels/a/messages", &json!(null)).await;
    assert_eq!(history.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn each_socket_of_a_connection_sets_echo_again() {
    let server = server().await;
    for (format, parameter) in
        FORMATS.into_iter().flat_map(|f| ["resume", "recover"].map(|p| (f, p)))
    {
        let (mut client, connected) = Client::connect_with(&server, format, "echo=false").await;
        let key = connected.details.unwrap().connection_key.unwrap();
        let query = format!("{parameter}={key}&echo=true");
        let (mut again, resumed) = Client::connect_with(&server, format, &query).await;
        assert_eq!(resumed.connection_id, connected.connection_id);
        assert!(matches!(client.event().await, Event::End));
        again.attach("a").await;
        again.publish("a", 0, vec![Message::new("m", "own")]).await;
        assert_eq!(again.message().await.items[0].data, Data::from("own"));
        again.ack().await;

        let query = format!("{parameter}={key}&echo=false");
        let (mut quiet, resumed) = Client::connect_with(&server, format, &query).await;
        assert_eq!(resumed.connection_id, connected.connection_id);
        let (mut other, _) = Client::connect(&server, format).await;
        quiet.attach("a").await;
        quiet.publish("a", 1, vec![Message::new("m", "own")]).await;
        quiet.ack().await;
        other.publish("a", 0, vec![Message::new("m", "another's")]).await;
        assert_eq!(quiet.message().await.items[0].data, Data::from("another's"));
    }
}

#[tokio::test]
async fn an_unknown_connection_key_creates_a_new_connection() {
    let server = server().await;
    let (_client, connected) = Client::connect_with(&server, Format::Json, "resume=nonsense").await;
    let error = connected.error.unwrap();
    assert_eq!((error.code.0, error.status_code), (80018, 400));
}

#[tokio::test]
async fn an_invalid_frame_ends_only_the_connection_of_its_sender() {
    let server = builder().max_frame_size(10_000).start().await.unwrap();
    let (mut good, _) = Client::connect(&server, Format::MsgPack).await;
    good.attach("a").await;
    let deep = format!(r#"{{"action":15,"x":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    let garbage = [
        (WsMessage::text("garbage"), 80013),
        (WsMessage::text("{}"), 80013),
        (WsMessage::text("[]"), 80013),
        (WsMessage::text(r#"{"action":"attach"}"#), 80013),
        (WsMessage::text(r#"{"action":15,"channel":"a","messages":[5]}"#), 80013),
        (WsMessage::text(deep), 80013),
        (WsMessage::binary(&b"\xc1"[..]), 80013),
        (WsMessage::binary(&b"\xdf\xff\xff\xff\xff"[..]), 80013),
        (WsMessage::binary(&b""[..]), 80013),
        (WsMessage::text("x".repeat(10_001)), 40009),
    ];
    for (serial, (message, code)) in garbage.into_iter().enumerate() {
        let (mut bad, connected) = Client::connect(&server, Format::Json).await;
        bad.publish("a", 0, vec![Message::new("m", "before")]).await;
        bad.socket.send(message).await.unwrap();
        assert_eq!(bad.ack().await.msg_serial, 0, "what came before the garbage counts");
        assert_eq!(bad.last_error().await, code);
        let key = connected.details.unwrap().connection_key.unwrap();
        let (_, other) =
            Client::connect_with(&server, Format::Json, &format!("resume={key}")).await;
        assert_eq!(other.error.unwrap().code.0, 80018, "the connection has failed");

        assert_eq!(good.message().await.items[0].data, Data::from("before"));
        good.publish("a", serial as u64, vec![Message::new("m", "after")]).await;
        assert_eq!(good.message().await.items[0].data, Data::from("after"));
        good.ack().await;
    }
}

/// Extras with this number of nested levels.
fn nested(levels: usize) -> serde_json::Value {
    (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }))
}

/// Sends arbitrary fields as a frame.
async fn send_fields(client: &mut Client, format: Format, fields: &serde_json::Value) {
    let bytes = codec::encode_body(format, fields).unwrap();
    let message = match format {
        Format::Json => WsMessage::text(String::from_utf8(bytes).unwrap()),
        Format::MsgPack => WsMessage::binary(bytes),
    };
    client.socket.send(message).await.unwrap();
}

#[tokio::test]
async fn an_unreadable_frame_is_refused_alone() {
    let server = server().await;
    for format in FORMATS {
        let (mut client, _) = Client::connect(&server, format).await;
        let mut serial = 0_u64;
        for (action, field) in
            [(15, "messages"), (14, "presence"), (21, "annotations"), (19, "state")]
        {
            for (item, code) in [
                (json!(null), 40000),
                (json!("item"), 40000),
                (json!({ "id": 5 }), 40000),
                (json!({ "id": [] }), 40000),
                (json!({ "novel": nested(70) }), 40013),
                (json!({ "novel": nested(1000) }), 40013),
            ] {
                let frame = json!({
                    "action": action, "channel": "a", "msgSerial": serial, field: [{}, item, {}],
                });
                send_fields(&mut client, format, &frame).await;
                match client.next().await {
                    ServerFrame::Nack(nack) => {
                        assert_eq!((nack.msg_serial, nack.count), (serial, 1));
                        assert_eq!(nack.error.unwrap().code.0, code, "{format:?} {item}");
                    }
                    other => panic!("not a NACK: {other:?}"),
                }
                serial += 1;
            }
        }
        // Without a serial there is no NACK: the error names the channel.
        let attach = json!({ "action": 10, "channel": "b", "params": { "a": nested(70) } });
        send_fields(&mut client, format, &attach).await;
        match client.next().await {
            ServerFrame::Error(error) => {
                assert_eq!(error.channel.as_deref(), Some("b"));
                assert_eq!(error.error.unwrap().code.0, 40013);
            }
            other => panic!("not an ERROR: {other:?}"),
        }
        // The connection is otherwise unchanged.
        client.attach("a").await;
        client.publish("a", serial, vec![Message::new("m", "after")]).await;
        assert_eq!(client.message().await.items[0].data, Data::from("after"));
        assert_eq!(client.ack().await.msg_serial, serial);
    }
}

#[tokio::test]
async fn accepted_messages_are_readable_wherever_they_are_delivered() {
    let server = server().await;
    for format in FORMATS {
        let (mut subscriber, _) = Client::connect(&server, format).await;
        let channel = format!("deep-{format:?}");
        subscriber.attach(&channel).await;
        let target = format!("/channels/{channel}/messages");
        let key = server.key();
        for levels in [60, 61, 64, 200] {
            let body = json!([{ "name": "n", "extras": nested(levels) }]);
            let asked = ask(&server, key, format, "POST", &target, &body).await;
            assert_eq!(refusal(&asked), (400, 40013), "{levels}");
            let batch = json!([{ "channels": [channel], "messages": body }]);
            let asked = ask(&server, key, format, "POST", "/messages", &batch).await;
            assert_eq!(refusal(&asked), (400, 40013), "{levels}");
        }
        let delta = json!([{ "data": "AAAA", "encoding": "vcdiff/base64" }]);
        let asked = ask(&server, key, format, "POST", &target, &delta).await;
        assert_eq!(refusal(&asked), (400, 40013));
        // An item that is decoded alone may have one level more.
        let deepest = json!({ "name": "n", "extras": nested(59) });
        let (answer, _) = ask(&server, key, format, "POST", &target, &deepest).await;
        assert_eq!(answer.status, 201);
        // The subscriber decodes with the default limits.
        let delivered = subscriber.message().await.items.remove(0);
        assert_eq!(json!(delivered.extras), nested(59));
        let (answer, _) = ask(&server, key, format, "GET", &target, &json!(null)).await;
        let limits = capably_protocol::Limits::default();
        let page = codec::decode_messages(format, &answer.body.into(), &limits).unwrap();
        assert_eq!(json!(page[0].extras), nested(59));
    }
}

#[tokio::test]
async fn a_websocket_protocol_error_ends_only_the_connection_of_its_sender() {
    let server = server().await;
    let (mut good, _) = Client::connect(&server, Format::Json).await;
    // A reserved opcode, a frame that is not masked, text that is not UTF-8.
    for bytes in [&b"\x83\x80\0\0\0\0"[..], b"\x81\x02{}", b"\x81\x81\0\0\0\0\xff"] {
        let (mut bad, _) = Client::connect(&server, Format::Json).await;
        bad.socket.get_mut().write_all(bytes).await.unwrap();
        while !matches!(bad.event().await, Event::End) {}
        good.send(&ClientFrame::Heartbeat { id: Some("x".into()) }).await;
        assert_eq!(good.next().await, ServerFrame::Heartbeat { id: Some("x".into()) });
    }
}

#[tokio::test]
async fn the_websocket_message_type_decides_the_format() {
    let server = server().await;
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    let mut bytes = Vec::new();
    let frame = ClientFrame::Heartbeat { id: Some("binary".into()) };
    codec::encode_client_frame(Format::MsgPack, &frame, &mut bytes);
    client.socket.send(WsMessage::binary(bytes)).await.unwrap();
    assert_eq!(client.next().await, ServerFrame::Heartbeat { id: Some("binary".into()) });
}

#[tokio::test]
async fn unknown_actions_are_ignored() {
    let server = server().await;
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    for frame in [r#"{"action":99,"what":"ever"}"#, r#"{"action":4}"#] {
        client.socket.send(WsMessage::text(frame)).await.unwrap();
    }
    client.send(&ClientFrame::Heartbeat { id: Some("x".into()) }).await;
    assert_eq!(client.next().await, ServerFrame::Heartbeat { id: Some("x".into()) });
}

#[tokio::test]
async fn invalid_credentials_are_refused() {
    let server = server().await;
    let key = server.key();
    let (app, rest) = key.split_once('.').unwrap();
    let (key_id, _) = rest.split_once(':').unwrap();
    let cases = [
        ("", 40101, 401),
        ("key=this.is:wrong", 40101, 401),
        ("key=api:key", 40101, 401),
        ("key=js9de7r:08sdnuvfasd", 40101, 401),
        ("key=wrong-key", 40101, 401),
        ("key=invalid.key:secret", 40101, 401),
        ("key=nonexistent.keyname:secret", 40101, 401),
        ("key=ab%20def.x:y", 40101, 401),
        ("key=abcdef.x:y", 40400, 404),
        (&format!("key={app}.nobody:secret"), 40400, 401),
        (&format!("key={app}.{key_id}:wrong"), 40101, 401),
        (&format!("key={app}.{key_id}:wrong&resume=x!y-1"), 40101, 401),
        ("access_token=made:up", 40101, 401),
        ("accessToken=x", 40101, 401),
        (&format!("key={key}&clientId=*"), 40012, 400),
        (&format!("key={key}&v=six"), 40017, 400),
    ];
    for format in FORMATS {
        for (query, code, status) in &cases {
            // If a parameter occurs twice, the first one applies, so the parameter of the case must come first.
            let stream = tokio::net::TcpStream::connect(server.local_addr()).await.unwrap();
            let url = format!("ws://{}/?{query}&format={}", server.local_addr(), format.name());
            let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
            let mut client = Client { format, socket };
            let ServerFrame::Error(frame) = client.next().await else { panic!("{query}") };
            assert_eq!(frame.channel, None);
            let error = frame.error.unwrap();
            assert_eq!((error.code.0, error.status_code), (*code, *status), "{query}");
            assert!(matches!(client.event().await, Event::End));
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_unknown_format_is_refused_in_json() {
    let server = server().await;
    let stream = tokio::net::TcpStream::connect(server.local_addr()).await.unwrap();
    let url = format!("ws://{}/?key={}&format=xml", server.local_addr(), server.key());
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(Client { format: Format::Json, socket }.last_error().await, 40003);
}

#[tokio::test]
async fn heartbeats_are_sent_on_an_idle_connection() {
    let server = builder().max_idle_interval(Duration::from_millis(60)).start().await.unwrap();
    let (mut frames, _) = Client::connect(&server, Format::Json).await;
    let (mut pings, _) = Client::connect_with(&server, Format::Json, "heartbeats=false").await;
    for _ in 0..3 {
        assert_eq!(frames.next().await, ServerFrame::Heartbeat { id: None });
        assert!(matches!(pings.event().await, Event::Ping));
    }
}

#[tokio::test]
async fn an_error_for_the_channel_without_a_name_names_it() {
    let server = server().await;
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    client.socket.send(WsMessage::text(r#"{"action":10,"channel":""}"#)).await.unwrap();
    let Some(Ok(WsMessage::Text(text))) = client.socket.next().await else { panic!() };
    let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(frame["action"], 9);
    assert_eq!(frame.get("channel"), Some(&json!("")));
    assert_eq!(frame["error"]["code"], 40010);
    assert_eq!(frame["error"]["statusCode"], 400);
    client.attach("still:here").await;
}

#[tokio::test]
async fn without_echo_a_client_receives_only_messages_of_others() {
    let server = server().await;
    let (mut quiet, _) = Client::connect_with(&server, Format::Json, "echo=false").await;
    let (mut other, _) = Client::connect(&server, Format::Json).await;
    quiet.attach("a").await;
    quiet.publish("a", 0, vec![Message::new("m", "mine")]).await;
    quiet.ack().await;
    other.publish("a", 0, vec![Message::new("m", "theirs")]).await;
    assert_eq!(quiet.message().await.items[0].data, Data::from("theirs"));
}

#[tokio::test]
async fn detached_and_closed() {
    let server = server().await;
    let (mut client, connected) = Client::connect(&server, Format::MsgPack).await;
    client.attach("a").await;
    client.send(&ClientFrame::Detach { channel: "a".into() }).await;
    let detached = ServerFrame::Detached { channel: "a".into(), error: None };
    assert_eq!(client.next().await, detached);
    client.publish("a", 0, vec![Message::new("m", "unheard")]).await;
    client.ack().await;

    client.send(&ClientFrame::Disconnect).await;
    assert_eq!(client.next().await, ServerFrame::Disconnected { error: None });
    assert!(matches!(client.event().await, Event::End));

    let key = connected.details.unwrap().connection_key.unwrap();
    let query = format!("resume={key}");
    let (mut client, resumed) = Client::connect_with(&server, Format::MsgPack, &query).await;
    assert_eq!(resumed.connection_id, connected.connection_id);
    client.send(&ClientFrame::Close).await;
    assert_eq!(client.next().await, ServerFrame::Closed);
    assert!(matches!(client.event().await, Event::End));
    let (_, new) = Client::connect_with(&server, Format::MsgPack, &query).await;
    assert_eq!(new.error.unwrap().code.0, 80018);
}

#[tokio::test]
async fn many_messages_arrive_once_and_in_order() {
    const COUNT: u64 = 5_000;
    for format in FORMATS {
        let server = server().await;
        let (publisher, _) = Client::connect(&server, format).await;
        let (mut subscriber, _) = Client::connect(&server, format).await;
        subscriber.attach("a").await;
        let frames: Vec<_> = (0..COUNT)
            .map(|number| {
                let message = Message::new("m", format!("{number:0300}"));
                publisher.encode(&publish("a", number, vec![message]))
            })
            .collect();
        let (mut sink, mut stream) = publisher.socket.split();
        let sending = tokio::spawn(async move {
            for frame in frames {
                sink.feed(frame).await.unwrap();
            }
            sink.flush().await.unwrap();
            sink
        });
        let acknowledging = tokio::spawn(async move {
            let (mut next, mut last) = (0, String::new());
            while next < COUNT {
                let bytes = stream.next().await.unwrap().unwrap().into_data();
                let frame = codec::decode_server_frame(
                    format,
                    &bytes,
                    &capably_protocol::Limits::default(),
                );
                let Ok(ServerFrame::Ack(ack)) = frame else { panic!("{frame:?}") };
                assert_eq!(ack.msg_serial, next);
                assert_eq!(ack.res.len() as u64, ack.count);
                next += ack.count;
                for serial in serials(&ack) {
                    assert!(serial > last);
                    last = serial;
                }
            }
        });
        let mut last = None::<Str>;
        for number in 0..COUNT {
            let delivery = subscriber.message().await;
            assert_eq!(delivery.items[0].data, Data::from(format!("{number:0300}")));
            assert!(delivery.channel_serial > last);
            last = delivery.channel_serial;
        }
        acknowledging.await.unwrap();
        drop(sending.await.unwrap());
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_can_resume() {
    const COUNT: u64 = 600;
    let server = builder().max_queue(500_000).start().await.unwrap();
    let (mut publisher, _) = Client::connect(&server, Format::MsgPack).await;
    let (mut lazy, connected) = Client::connect(&server, Format::MsgPack).await;
    let mut serial = lazy.attach("a").await.channel_serial;
    // Far more than fits into the buffers of the sockets.
    for number in 0..COUNT {
        let message = Message::new(number.to_string(), vec![b'x'; 60_000]);
        publisher.publish("a", number, vec![message]).await;
        publisher.ack().await;
    }
    let mut next = 0;
    let code = loop {
        match lazy.next().await {
            ServerFrame::Message(delivery) => {
                assert_eq!(delivery.items[0].name.as_deref(), Some(next.to_string().as_str()));
                serial = delivery.channel_serial;
                next += 1;
            }
            ServerFrame::Disconnected { error } => break error.unwrap().code.0,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 80020);
    assert!(next < COUNT);
    assert!(matches!(lazy.event().await, Event::End));

    let key = connected.details.unwrap().connection_key.unwrap();
    let (mut back, _) =
        Client::connect_with(&server, Format::MsgPack, &format!("resume={key}")).await;
    let attach = Attach { channel: "a".into(), channel_serial: serial, ..Attach::default() };
    assert!(back.attach_with(attach).await.flags.contains(Flags::RESUMED));
    while next < COUNT {
        let delivery = back.message().await;
        assert_eq!(delivery.items[0].name.as_deref(), Some(next.to_string().as_str()));
        next += 1;
    }
}
