//! Objects over sockets.

use capably_objects::{LiveCounter, LiveMap, Path, increment, set};
use capably_protocol::{ErrorCode, Format, ObjectMessage, ServerFrame};
use serde_json::json;

use super::{
    FORMATS,
    sharer::{Sharer, ids},
    support::{self, server},
};

// Spec: RTO5, RTO8, RTO15, RTO20, CD2i
#[tokio::test]
async fn clients_of_both_formats_edit_one_tree() {
    let server = server().await;
    for format in FORMATS {
        let channel: &'static str = if format == Format::Json { "json" } else { "msgpack" };
        let other = if format == Format::Json { Format::MsgPack } else { Format::Json };
        let mut ada = Sharer::join(&server, format, channel).await;
        let mut bo = Sharer::join(&server, other, channel).await;
        let details = ada.connected.details.clone().unwrap();
        assert_eq!(details.objects_gc_grace_period, Some(86_400_000));
        let tree = LiveMap::new()
            .with("votes", LiveCounter::new(2.5))
            .with("bytes", bytes::Bytes::from_static(&[0, 255]))
            .with("json", json!({"a": [1, null]}))
            .with("text", "ü")
            .with("deeper", LiveMap::new().with("number", -7.0));
        let sent = ada.send(set("root", "tree", tree, &mut ids()).unwrap()).await;
        let delivery = ada.receive().await;
        let ack = ada.client.ack().await;
        assert_eq!((ack.msg_serial, ack.count), (sent, 1));
        let serials = delivery.items.iter().map(|item| item.serial.clone().unwrap().to_string());
        assert_eq!(serials.collect::<Vec<_>>(), support::serials(&ack));
        assert!(delivery.items.iter().all(|item| item.site_code == details.site_code));
        assert_eq!(delivery.connection_id, ada.connected.connection_id);
        assert_eq!(bo.receive().await.items, delivery.items);
        let expected = json!({"tree": {
            "votes": 2.5, "bytes": "AP8=", "json": {"a": [1, null]}, "text": "ü", "deeper": {"number": -7},
        }});
        assert_eq!((ada.value(), bo.value()), (expected.clone(), expected));
        let path = Path::from_iter(["tree", "votes"]);
        let votes = bo.objects.pool().resolve(&path).unwrap().object_id().unwrap().clone();
        bo.send(vec![increment(votes, 0.5).unwrap()]).await;
        bo.receive().await;
        bo.client.ack().await;
        ada.receive().await;
        assert_eq!(ada.value(), bo.value());
        assert_eq!(ada.value()["tree"]["votes"], 3);
        // A client that comes later gets the same by its sync.
        let late = Sharer::join(&server, format, channel).await;
        assert_eq!(late.value(), ada.value());
    }
}

#[tokio::test]
async fn a_refused_operation_leaves_the_client_connected() {
    let server = server().await;
    for format in FORMATS {
        let mut client = Sharer::join(&server, format, "refusals").await;
        let mut forged = set("root", "c", LiveCounter::new(1.0), &mut ids()).unwrap();
        let operation = forged[0].operation.as_mut().unwrap();
        operation.counter_create_with_object_id.as_mut().unwrap().nonce = "another nonce".into();
        let large = set("root", "k", "x".repeat(65_536), &mut ids()).unwrap();
        for (items, code) in [
            (forged, ErrorCode::INVALID_OBJECT_MESSAGE),
            (large, ErrorCode::MAX_MESSAGE_SIZE_EXCEEDED),
            (vec![ObjectMessage::default()], ErrorCode::INVALID_OBJECT_MESSAGE),
        ] {
            let sent = client.send(items).await;
            let ServerFrame::Nack(nack) = client.client.next().await else { panic!("no NACK") };
            assert_eq!((nack.msg_serial, nack.error.unwrap().code), (sent, code));
        }
        client.send(set("root", "k", "v", &mut ids()).unwrap()).await;
        client.receive().await;
        assert_eq!(client.client.ack().await.msg_serial, 3);
        assert_eq!(client.value()["k"], "v");
    }
}
