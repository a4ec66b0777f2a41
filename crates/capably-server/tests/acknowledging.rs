//! Repeated frames, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::Arc;

use capably_protocol::{
    Annotation, AnnotationAction, ClientFrame, Format, Message, PresenceAction, PresenceMessage,
    ServerFrame, frame::Publish,
};
use serde_json::json;

use support::*;

fn frame<T>(channel: &str, msg_serial: u64, item: T) -> Publish<T> {
    let items = Arc::from([item]);
    Publish { channel: channel.into(), msg_serial, items, params: Default::default() }
}

/// The answers up to and including the one to this frame: whether it is an ACK, its serial, and the number of frames.
async fn answers(client: &mut Client, last: u64) -> Vec<(bool, u64, u64)> {
    let mut answers = Vec::new();
    while answers.last().is_none_or(|(_, first, count)| first + count <= last) {
        match client.next().await {
            ServerFrame::Ack(ack) => answers.push((true, ack.msg_serial, ack.count)),
            ServerFrame::Nack(nack) => answers.push((false, nack.msg_serial, nack.count)),
            _ => {}
        }
    }
    answers
}

#[tokio::test]
async fn a_frame_is_handled_once_and_acknowledged_once_on_each_transport() {
    let server = server().await;
    let namespaces = json!([{"id": "mutable", "mutableMessages": true}]);
    let key = app(&server, &json!({"keys": [{}], "namespaces": namespaces})).await.remove(0);
    for format in [Format::Json, Format::MsgPack] {
        let name = format!("mutable:{}", format.name());
        let channel = format!("/channels/{name}/messages");
        let body = json!({"name": "m", "data": "x"});
        let (_, published) = ask(&server, &key, format, "POST", &channel, &body).await;
        let serial = published["serials"][0].as_str().unwrap();

        let annotation = Annotation {
            action: Some(AnnotationAction::Create),
            annotation_type: Some("r:total.v1".into()),
            message_serial: Some(serial.into()),
            ..Annotation::default()
        };
        let member =
            |action| PresenceMessage { action: Some(action), ..PresenceMessage::default() };
        let bad_message = Message { client_id: Some("other".into()), ..Message::default() };
        let frames = [
            ClientFrame::Message(frame(&name, 0, Message::new("m", "y"))),
            ClientFrame::Message(frame(&name, 1, bad_message)),
            ClientFrame::Presence(frame(&name, 2, member(PresenceAction::Enter))),
            ClientFrame::Presence(frame(&name, 3, member(PresenceAction::Absent))),
            ClientFrame::Annotation(frame(&name, 4, annotation)),
            ClientFrame::Annotation(frame(&name, 5, Annotation::default())),
        ];
        let expected =
            [(true, 0, 1), (false, 1, 1), (true, 2, 1), (false, 3, 1), (true, 4, 1), (false, 5, 1)];
        let query = format!("key={key}&clientId=ada");
        let mut resume = String::new();
        for round in 0..2 {
            let mut client = Client::open(&server, format, &format!("{query}{resume}")).await;
            let ServerFrame::Connected(connected) = client.next().await else { panic!() };
            let key = connected.details.unwrap().connection_key.unwrap();
            resume = format!("&resume={key}");
            client.attach(&name).await;
            for frame in &frames {
                client.send(frame).await;
                client.send(frame).await;
            }
            // The answer to a further, new frame shows that no other answer was in flight.
            let new = Message::new("m", "z");
            client.send(&ClientFrame::Message(frame(&name, 6 + round, new))).await;
            let answers = answers(&mut client, 6 + round).await;
            let new = (true, 6 + round, 1);
            assert_eq!(answers, [&expected[..], &[new]].concat(), "{format:?} {round}");
        }
        let (_, history) = ask(&server, &key, format, "GET", &channel, &json!(null)).await;
        let texts: Vec<_> = history.as_array().unwrap().iter().map(|it| &it["data"]).collect();
        assert_eq!(texts, ["z", "z", "y", "x"]);
        let total = &history[3]["annotations"]["summary"]["r:total.v1"]["total"];
        assert_eq!(*total, json!(1));
        let members = format!("/channels/{name}/presence/history");
        let (_, members) = ask(&server, &key, format, "GET", &members, &json!(null)).await;
        assert_eq!(members.as_array().unwrap().len(), 1);
    }
}
