//! Claims of a JWT for each channel, in virtual time.

use capably_protocol::{
    Annotation, AnnotationAction, JsonObject, MessageAction, PresenceAction, PresenceMessage,
};
use serde_json::{Value, json};

use super::{access::KEY_NAME, *};

impl Bench {
    /// A JWT of `ada` with additional claims.
    fn token(&self, claims: Value) -> String {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": KEY_NAME});
        let issued = self.now.wall / 1000;
        let mut all = json!({"iat": issued, "exp": issued + 3600, "x-ably-clientId": "ada"});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        self.jwt(&header, &all)
    }

    fn identity_of(&self, claims: Value) -> Identity {
        self.authenticate(&self.token(claims), None).unwrap()
    }
}

fn object(value: Value) -> Option<JsonObject> {
    value.as_object().cloned()
}

fn message(extras: Value) -> Message {
    Message { extras: object(extras), ..Message::new("m", "x") }
}

/// The extras of all items delivered to a transport, in order.
fn extras(frames: Vec<ServerFrame>) -> Vec<Value> {
    let items = frames.into_iter().flat_map(|frame| match frame {
        ServerFrame::Message(delivery) => {
            delivery.items.into_iter().map(|item| item.extras).collect::<Vec<_>>()
        }
        ServerFrame::Annotation(delivery) => {
            delivery.items.into_iter().map(|item| item.extras).collect()
        }
        ServerFrame::Presence(delivery) | ServerFrame::Sync(delivery) => {
            delivery.items.into_iter().map(|item| item.extras).collect()
        }
        _ => Vec::new(),
    });
    items.map(|extras| json!(extras)).collect()
}

#[test]
fn messages_contain_the_claim_of_their_publisher() {
    let mut bench = Bench::new();
    let claims = json!({
        "ably.channel.*": "guest", "ably.channel.news": "editor", "ably.room.lobby": "host",
    });
    let holder = bench.identity_of(claims);
    let (ada, _) = bench.connect_as(holder.clone(), None, true);
    let (bob, _) = bench.connect(None);
    for (serial, channel, claim) in
        [(0, "news", "editor"), (1, "lobby::$chat", "host"), (2, "any:other", "guest")]
    {
        bench.attach(bob, channel, None);
        bench.attach(ada, channel, None);
        // The service replaces or removes a forged claim.
        let forged = json!({"userClaim": "forged", "headers": {"a": 1}});
        let messages = vec![message(json!(null)), message(forged.clone())];
        let qualified = format!("[?rewind=1]{channel}");
        bench.send(ada, vec![publish(&qualified, serial, messages.clone())]);
        bench
            .app
            .publish(&holder, &channel.into(), messages.clone(), bench.now, &mut bench.outputs)
            .unwrap();
        bench.send(bob, vec![publish(channel, serial, messages)]);
        let claimed = json!({"userClaim": claim});
        let both = json!({"userClaim": claim, "headers": {"a": 1}});
        let expected = [
            claimed.clone(),
            both.clone(),
            claimed,
            both,
            json!(null),
            json!({"headers": {"a": 1}}),
        ];
        assert_eq!(extras(bench.frames(bob)), expected, "{channel}");
        bench.frames(ada);
        let history = bench.history(channel).into_iter().map(|item| json!(item.extras));
        assert_eq!(history.collect::<Vec<_>>(), expected, "{channel}");
    }
}

#[test]
fn a_version_of_a_message_contains_the_claim_of_its_author() {
    let mut bench = Bench::new();
    let author = bench.identity_of(json!({"ably.channel.mutable:*": "author"}));
    let editor = bench.identity_of(json!({"ably.channel.mutable:*": "editor"}));
    let plain = bench.identity_of(json!({}));
    let channel = Str::from("mutable:a");
    let published = bench.app.publish(
        &author,
        &channel,
        vec![message(json!({"a": 1}))],
        bench.now,
        &mut bench.outputs,
    );
    let serial = published.unwrap().published().serials[0].clone();
    let change = |action, extras: Value| Message {
        action: Some(action),
        serial: Some(serial.clone()),
        ..message(extras)
    };
    for (identity, change, expected) in [
        (
            &editor,
            change(MessageAction::Update, json!(null)),
            json!({"a": 1, "userClaim": "editor"}),
        ),
        (
            &author,
            change(MessageAction::Append, json!({"b": 2, "userClaim": "forged"})),
            json!({"b": 2, "userClaim": "author"}),
        ),
        (&plain, change(MessageAction::Delete, json!(null)), json!({"b": 2})),
    ] {
        bench.app.change(identity, &channel, change, bench.now, &mut bench.outputs).unwrap();
        assert_eq!(json!(bench.history(&channel)[0].extras), expected);
    }
}

#[test]
fn annotations_contain_the_claim_of_their_publisher() {
    let mut bench = Bench::new();
    let holder = bench.identity_of(json!({"ably.channel.mutable:*": "critic"}));
    let channel = Str::from("mutable:a");
    let published = bench.app.publish(
        &bench.identity(),
        &channel,
        vec![message(json!(null))],
        bench.now,
        &mut bench.outputs,
    );
    let serial = published.unwrap().published().serials[0].clone();
    let annotation = |extras: Value| Annotation {
        action: Some(AnnotationAction::Create),
        annotation_type: Some("r:total.v1".into()),
        message_serial: Some(serial.clone()),
        extras: object(extras),
        ..Annotation::default()
    };
    let items = vec![annotation(json!(null)), annotation(json!({"userClaim": "forged", "a": 1}))];
    let (ada, _) = bench.connect_as(holder.clone(), None, true);
    let params = [("modes".to_owned(), "annotation_subscribe".to_owned())].into();
    let attach = Attach { channel: channel.clone(), params, ..Attach::default() };
    let (bob, _) = bench.connect(None);
    bench.send(bob, vec![ClientFrame::Attach(attach)]);
    let frame = Publish {
        channel: channel.clone(),
        msg_serial: 0,
        items: items.clone().into(),
        params: Default::default(),
    };
    bench.send(ada, vec![ClientFrame::Annotation(frame.clone())]);
    bench.app.annotate(&holder, &channel, &serial, items, bench.now, &mut bench.outputs).unwrap();
    bench.send(bob, vec![ClientFrame::Annotation(frame)]);
    let claimed = json!({"userClaim": "critic"});
    let both = json!({"userClaim": "critic", "a": 1});
    let expected = [claimed.clone(), both.clone(), claimed, both, json!(null), json!({"a": 1})];
    assert_eq!(extras(bench.frames(bob)), expected[..4]);
    let (identity, query) = (bench.identity(), all(Direction::Forwards));
    let read = bench.app.annotations(&identity, &channel, &serial, &query, bench.now).unwrap();
    assert_eq!(read.items.iter().map(|it| json!(it.extras)).collect::<Vec<_>>(), expected[..4]);
}

#[test]
fn presence_members_contain_the_claim_of_their_connection() {
    let mut bench = Bench::new();
    let holder = bench.identity_of(json!({"ably.channel.a": "host"}));
    let (ada, _) = bench.connect_as(holder, None, true);
    bench.attach(ada, "a", None);
    let (bob, _) = bench.connect(None);
    bench.attach(bob, "a", None);
    let mut serial = 0;
    let mut say = |bench: &mut Bench, action, data: Data, extras: Value| {
        let item = PresenceMessage {
            action: Some(action),
            data,
            extras: object(extras),
            ..PresenceMessage::default()
        };
        let frame = Publish {
            channel: "a".into(),
            msg_serial: serial,
            items: [item].into(),
            params: Default::default(),
        };
        serial += 1;
        bench.send(ada, vec![ClientFrame::Presence(frame)]);
    };
    let claimed = json!({"userClaim": "host"});
    let forged = json!({"userClaim": "forged", "b": 1});
    say(&mut bench, PresenceAction::Enter, "here".into(), forged);
    say(&mut bench, PresenceAction::Update, "there".into(), json!(null));
    assert_eq!(extras(bench.frames(bob)), [json!({"userClaim": "host", "b": 1}), claimed.clone()]);
    // A client that attaches later receives the claim, too.
    let (late, _) = bench.connect(None);
    bench.attach(late, "a", None);
    assert_eq!(extras(bench.frames(late)), std::slice::from_ref(&claimed));
    // A leave without data has the last data of the member, also with a claim.
    say(&mut bench, PresenceAction::Leave, Data::None, json!({"userClaim": "forged"}));
    let frames = bench.frames(bob);
    let [ServerFrame::Presence(delivery)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(delivery.items[0].data, Data::from("there"));
    assert_eq!(extras(frames), std::slice::from_ref(&claimed));
    // The leave of an expired connection has the claim, too.
    say(&mut bench, PresenceAction::Enter, "here".into(), json!(null));
    bench.app.transport_closed(ada, bench.now, &mut bench.outputs);
    bench.advance(Duration::from_secs(15));
    assert_eq!(extras(bench.frames(bob)), [claimed.clone(), claimed]);
}

#[test]
fn a_new_token_replaces_claims_and_rates() {
    let mut bench = Bench::new();
    let rate = "ably.limits.publish.perAttachment.maxRate.a";
    let holder = bench.identity_of(json!({"ably.channel.a": "first", rate: 1}));
    let (ada, _) = bench.connect_as(holder, None, true);
    bench.attach(ada, "a", None);
    bench.publish(ada, "a", 0, "x");
    assert_eq!(extras(bench.frames(ada)), [json!({"userClaim": "first"})]);
    bench.publish(ada, "a", 1, "x");
    assert_eq!(nack_code(bench.frames(ada)), (1, 42911));

    let token = bench.token(json!({"ably.channel.a": "second", rate: 1000}));
    assert!(matches!(bench.auth(ada, &token)[..], [ServerFrame::Connected(_), ..]));
    bench.advance(Duration::from_millis(1));
    bench.publish(ada, "a", 2, "x");
    assert_eq!(extras(bench.frames(ada)), [json!({"userClaim": "second"})]);

    let token = bench.token(json!({}));
    bench.auth(ada, &token);
    bench.send(
        ada,
        (3..1000).map(|serial| publish("a", serial, vec![message(json!(null))])).collect(),
    );
    let seen = extras(bench.frames(ada));
    assert_eq!((seen.len(), seen.iter().all(Value::is_null)), (997, true));
}

#[test]
fn each_channel_has_its_own_rate_from_the_token() {
    let mut bench = Bench::new();
    let rates = "ably.limits.publish.perAttachment.maxRate.";
    let claims = json!({
        format!("{rates}*"): 10, format!("{rates}slow"): 0.1, format!("{rates}closed:*"): 0,
    });
    let (ada, connected) = bench.connect_as(bench.identity_of(claims.clone()), None, true);
    bench.attach(ada, "slow", None);
    let mut serial = 0;
    let mut publish_on = |bench: &mut Bench, transport, channel: &str, count: usize| {
        bench.send(transport, vec![publish(channel, serial, vec![Message::new("m", "x"); count])]);
        serial += 1;
        let mut answers = bench.frames(transport).into_iter().filter_map(|frame| match frame {
            ServerFrame::Ack(_) => Some(0),
            ServerFrame::Nack(nack) => Some(nack.error.unwrap().code.0),
            _ => None,
        });
        let answer = answers.next().unwrap();
        assert_eq!(answers.next(), None);
        answer
    };
    assert_eq!(
        publish_on(&mut bench, ada, "slow", 2),
        42911,
        "more than there may ever be at once"
    );
    assert_eq!(publish_on(&mut bench, ada, "slow", 1), 0);
    assert_eq!(publish_on(&mut bench, ada, "slow", 1), 42911);
    assert_eq!(publish_on(&mut bench, ada, "closed:a", 1), 42911);
    // Each channel has its own rate under all its names, whether the client is attached or not.
    assert_eq!(publish_on(&mut bench, ada, "fast", 10), 0);
    assert_eq!(publish_on(&mut bench, ada, "other", 10), 0);
    assert_eq!(publish_on(&mut bench, ada, "[?rewind=1]fast", 1), 42911);
    // Neither a new attachment nor a new transport resets the rate.
    bench.send(ada, vec![ClientFrame::Detach { channel: "slow".into() }]);
    bench.frames(ada);
    bench.attach(ada, "slow", None);
    bench.frames(ada);
    assert_eq!(publish_on(&mut bench, ada, "slow", 1), 42911);
    let holder = bench.identity_of(claims);
    let (ada, _) = bench.connect_as(holder, Some(&key(&connected)), true);
    assert_eq!(publish_on(&mut bench, ada, "slow", 1), 42911);
    bench.advance(Duration::from_secs(10));
    assert_eq!(publish_on(&mut bench, ada, "slow", 1), 0);
    assert_eq!(publish_on(&mut bench, ada, "fast", 10), 0);
    // The rate does not apply to presence.
    let enter = |serial| {
        let item = PresenceMessage { action: Some(PresenceAction::Enter), ..Default::default() };
        let (channel, params) = ("slow".into(), Default::default());
        ClientFrame::Presence(Publish { channel, msg_serial: serial, items: [item].into(), params })
    };
    bench.attach(ada, "slow", None);
    bench.send(ada, vec![enter(100)]);
    assert_eq!(bench.acks(ada)[0].msg_serial, 100);
    assert_eq!(bench.history("slow").len(), 2);
}

#[test]
fn the_client_type_of_a_token_is_read() {
    let bench = Bench::new();
    for (claims, expected) in [
        (json!({"x-ably-clientType": "server"}), Some("server")),
        (json!({"x-ably-clientType": "something new"}), Some("something new")),
        (json!({"x-ably-clientType": ["odd"]}), None),
        (json!({"x-ably-clientType": null}), None),
        (json!({}), None),
    ] {
        assert_eq!(bench.identity_of(claims.clone()).client_type(), expected, "{claims}");
    }
}
