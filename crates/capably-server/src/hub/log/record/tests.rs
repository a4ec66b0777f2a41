use capably_protocol::{
    Annotation, Data, MessageAction, PresenceAction, PresenceMessage,
    object::{MapSet, ObjectOperation, ObjectOperationAction, ObjectValue},
};
use serde_json::json;

use super::*;

/// Each type of body, with and without a proposer.
fn proposals() -> Vec<(Body, Option<Proposer>)> {
    let proposer = Proposer { node: NodeId(u64::MAX - 1), ticket: Ticket(7) };
    let alone = bodies().into_iter().map(|body| (body, None));
    alone.chain(bodies().into_iter().map(|body| (body, Some(proposer)))).collect()
}

fn bodies() -> Vec<Body> {
    let connection = Some(Str::from("connection"));
    let extras = json!({ "a": [1, "ü"] }).as_object().cloned();
    let message = Message {
        id: Some("id:0".into()),
        client_id: Some("ada".into()),
        encoding: Some("json".into()),
        extras,
        ..Message::new("name", "text")
    };
    let at = (Position(1_726_585_978_590_001), 7);
    let change = Change {
        at,
        id: Some("c:1".into()),
        connection: connection.clone(),
        message: Message { action: Some(MessageAction::Append), ..message.clone() },
        version: MessageVersion {
            client_id: Some("bo".into()),
            description: Some("why".into()),
            ..MessageVersion::default()
        },
        claim: Some("host".into()),
        max_size: 65_536,
    };
    let annotation = Annotation {
        annotation_type: Some("reaction:unique.v1".into()),
        message_serial: Some(at.0.message_serial(at.1)),
        name: Some("👍".into()),
        ..Annotation::default()
    };
    let member = PresenceMessage {
        action: Some(PresenceAction::Update),
        client_id: Some("ada".into()),
        data: Data::from(vec![0, 255]),
        ..PresenceMessage::default()
    };
    let value = |value: ObjectValue| ObjectOperation {
        action: Some(ObjectOperationAction::MapSet),
        object_id: Some("root".into()),
        map_set: Some(MapSet { key: "k".into(), value: value.into() }),
        ..ObjectOperation::default()
    };
    let operation = |operation| ObjectMessage {
        id: Some("id:0".into()),
        operation: Some(Box::new(operation)),
        ..ObjectMessage::default()
    };
    vec![
        Body::Objects(Operations {
            frame: Items {
                id: Some("c:2".into()),
                connection: connection.clone(),
                items: vec![
                    operation(value(ObjectValue::Bytes(vec![0, 255].into()))),
                    operation(value(ObjectValue::Json(json!({ "a": [1.5] })))),
                ],
            },
            grace: Duration::from_millis(86_400_000),
        }),
        Body::Messages(Items {
            id: Some("c:0".into()),
            connection: connection.clone(),
            items: vec![message, Message::default()],
        }),
        Body::Change(Box::new(change)),
        Body::Annotations(Items { id: None, connection: None, items: vec![annotation] }),
        Body::Summary(Summary { at, max_size: 100 }),
        Body::Presence(Events {
            connection: "connection".into(),
            msg_serial: u64::MAX,
            repeated: true,
            items: vec![member],
            max_members: 250,
            remain: Duration::from_secs(15),
            again: None,
        }),
        Body::Departure(Departure {
            connection: "connection".into(),
            members: vec![leaving("ada", "connection:1:0"), leaving("bo", "connection:7:0")],
            repeated: false,
            lapsed: true,
            owner: Some(Owner { node: NodeId(u64::MAX), since: at.0 }),
        }),
        Body::Departure(Departure {
            connection: "connection".into(),
            members: vec![leaving("ada", "connection:7:0")],
            repeated: true,
            lapsed: false,
            owner: None,
        }),
        Body::Adoption(Adoption {
            connection: "connection".into(),
            remain: Duration::from_millis(1),
        }),
    ]
}

fn leaving(client: &'static str, id: &'static str) -> PresenceMessage {
    PresenceMessage {
        id: Some(id.into()),
        client_id: Some(client.into()),
        data: Data::from("text"),
        ..PresenceMessage::default()
    }
}

#[test]
fn records_survive_a_round_trip() {
    let channel = Str::from("a:b");
    for (body, proposer) in proposals() {
        let time = 1_726_585_978_590;
        let mut proposal = Proposal { channel: channel.clone(), time, proposer, body };
        let before = format!("{proposal:?}");
        let append = proposal.encode_append("app-id", Duration::from_secs(1));
        assert_eq!(format!("{proposal:?}"), before, "the items are back in their place");
        assert_eq!(Proposal::proposer_of(&append.payload), proposer);
        let read = Proposal::decode(&channel, append.time, &append.payload).unwrap();
        assert_eq!(format!("{read:?}"), before);
    }
}

#[test]
fn damaged_and_newer_records_are_errors() {
    let channel = Str::from("a");
    for (body, proposer) in proposals() {
        let mut proposal = Proposal { channel: channel.clone(), time: 1, proposer, body };
        let record = proposal.encode_append("app-id", Duration::ZERO).payload;
        for length in 0..record.len() {
            let cut = record.slice(..length);
            assert!(Proposal::decode(&channel, 1, &cut).is_err(), "{length}");
        }
        let mut newer = record.to_vec();
        newer[0] = 9;
        let error = Proposal::decode(&channel, 1, &newer.into()).unwrap_err();
        assert_eq!(error, "an entry has version 9, and this server reads up to 2");
    }
}

#[test]
fn departures_of_builds_that_write_no_items_are_read() {
    for (last, repeated) in [(vec![], false), (vec![Str::from("connection:7:0")], true)] {
        let clients = vec!["ada".into()];
        let extra = Extra { clients, last: last.clone(), ..Extra::default() };
        let record = write(Tag::Departure, None, &extra, frame_of(&"connection".into())).0;
        let read = Proposal::decode(&Str::from("a"), 1, &record).unwrap();
        let Body::Departure(departure) = read.body else { panic!("{read:?}") };
        let member = PresenceMessage {
            id: last.first().cloned(),
            client_id: Some("ada".into()),
            ..PresenceMessage::default()
        };
        assert_eq!((departure.members, departure.repeated), (vec![member], repeated));
    }
}
