//! Gaps that are filled from history, as far as history reaches.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use capably::{ClientOptions, Overflow, http::HttpErrorKind, realtime::ConnectionState};
use capably_protocol::{ClientFrame, Format, MessageAction};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::*;
use crate::{http::scripted_http::*, in_both_formats};

/// The history: the position and the fields of each message, in order.
#[derive(Clone, Default)]
pub(super) struct History(Arc<Mutex<Vec<(u32, Value)>>>);

impl History {
    /// Messages with these names, from this position on.
    fn of(first: u32, names: &[&str]) -> Self {
        let history = Self::default();
        for (position, name) in (first..).zip(names) {
            history.add(position, json!({ "name": name, "data": name }));
        }
        history
    }

    pub(super) fn add(&self, position: u32, mut fields: Value) {
        fields["serial"] = format!("{position:03}:0").into();
        fields["id"] = format!("id-{position}:0").into();
        self.0.lock().unwrap().push((position, fields));
    }

    /// A page, the newest first.
    pub(super) fn answer(&self, request: &Request) -> Answer {
        assert_eq!((request.method(), request.path()), ("GET", "/channels/ch/messages"));
        assert_eq!(request.param("direction").as_deref(), Some("backwards"));
        let number = |name: &str| request.param(name).map(|text| text.parse::<u32>().unwrap());
        let until = number("cursor").map_or_else(|| number("fromSerial").unwrap(), |next| next - 1);
        let limit = number("limit").unwrap() as usize;
        let messages = self.0.lock().unwrap();
        let mut found: Vec<_> =
            messages.iter().rev().filter(|(position, _)| *position <= until).collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let answer = respond(200, found.iter().map(|(_, fields)| fields.clone()).collect());
        match found.last() {
            Some((last, _)) if more => answer.link(format!(
                "<./messages?direction=backwards&limit={limit}&cursor={last}>; rel=\"next\""
            )),
            _ => answer,
        }
    }

    fn http(&self) -> ScriptedHttp {
        let history = self.clone();
        ScriptedHttp::new(move |request, _| history.answer(&Request(request.clone())))
    }

    /// Gives this answer after a delay.
    fn slow_http(&self) -> ScriptedHttp {
        let history = self.clone();
        ScriptedHttp::new(move |request, _| {
            let answer = history.answer(&Request(request.clone()));
            Answer::After(Duration::from_secs(2), Box::new(answer))
        })
    }
}

/// A channel that is attached, and its history.
struct Scene {
    client: capably::Realtime,
    service: Service,
    peer: Peer,
    channel: capably::Channel,
    http: ScriptedHttp,
}

impl Scene {
    async fn new(format: Format, http: ScriptedHttp) -> Self {
        Self::with(format, http, |options| options).await
    }

    async fn with(
        format: Format,
        http: ScriptedHttp,
        options: impl FnOnce(ClientOptions) -> ClientOptions,
    ) -> Self {
        let client = Arc::new(http.clone());
        let options = |defaults: ClientOptions| options(defaults.http_client(client));
        let (client, service, mut peer) = connected_with(format, options).await;
        let channel = client.channels().get("ch");
        let (attached, _) = tokio::join!(channel.attach(), async {
            peer.expect_attach("ch").await;
            peer.send(anew(0));
        });
        attached.unwrap();
        Self { client, service, peer, channel, http }
    }

    async fn filling(&self) -> Subscription {
        self.channel.subscribe().fill_gaps().await.unwrap()
    }

    fn send(&mut self, frames: impl IntoIterator<Item = ServerFrame>) {
        for frame in frames {
            self.peer.send(frame);
        }
    }
}

/// The next `count` events.
async fn next(messages: &mut Subscription, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for _ in 0..count {
        let event = timeout(Duration::from_secs(600), messages.next_event()).await;
        events.push(short(event.expect("what is to come never comes").expect("it goes on")));
    }
    events
}

// Spec: RTL10b, RTL15c
in_both_formats! {
    async fn missed_messages_are_delivered_in_order_with_a_mark_before_later_messages(format) {
        let history = History::of(1, &["a", "b", "c", "d", "e"]);
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(1, "a"), anew(4), message(5, "e")]);
        assert_eq!(next(&mut messages, 5).await, ["a", "[b]", "[c]", "[d]", "e"]);
        let asked: Vec<_> = scene.http.requests();
        let asked: Vec<_> = asked
            .iter()
            .map(|request| {
                (request.param("fromSerial").unwrap(), request.param("limit").unwrap())
            })
            .collect();
        assert_eq!(asked, [("001".into(), "1".into()), ("004".into(), "1000".into())]);
        quiet(&scene.client, &mut scene.peer).await;
        assert_eq!(said(&mut messages), [""; 0]);
    }
}

// Spec: RTL10b
in_both_formats! {
    async fn a_loop_over_messages_receives_the_filled_ones(format) {
        let history = History::of(1, &["a", "b", "c"]);
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(1, "a"), anew(2), message(3, "c")]);
        for name in ["a", "b", "c"] {
            let message = messages.next().await.unwrap();
            assert_eq!(message.name.as_deref(), Some(name));
            assert_eq!(message.data.as_str(), Some(name));
        }
    }
}

// Spec: RTN15c7
in_both_formats! {
    async fn a_gap_without_missed_messages_is_not_reported(format) {
        let history = History::of(1, &["a", "b"]);
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(1, "a"), anew(1), message(2, "b")]);
        assert_eq!(next(&mut messages, 2).await, ["a", "b"]);
        // A frame that moves the position without a message is no missed message.
        scene.send([anew(9), message(10, "c")]);
        assert_eq!(next(&mut messages, 1).await, ["c"]);
    }
}

// Spec: RTL10b
in_both_formats! {
    async fn several_pages_are_read(format) {
        let names: Vec<String> = (0..2_600).map(|number| format!("n{number}")).collect();
        let history = History::of(1, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        let position = |number: u32| ServerFrame::Message(Delivery {
            channel_serial: Some(format!("{number:04}").into()),
            ..Delivery::new("ch", vec![Message { serial: Some("0001:0".into()), ..Message::new("n0", "n0") }])
        });
        let anew = attached_with("ch", |frame| frame.channel_serial = Some("2600".into()));
        scene.send([position(1), anew]);
        let mut expected = vec!["n0".to_owned()];
        expected.extend(names[1..].iter().map(|name| format!("[{name}]")));
        assert_eq!(next(&mut messages, 2_600).await, expected);
        assert_eq!(scene.http.requests().len(), 4);
    }
}

// Spec: RTL7b
in_both_formats! {
    async fn only_selected_messages_are_filled_in(format) {
        let history = History::of(1, &["x", "b", "c", "b", "c"]);
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.channel.subscribe().name("b").name("x").fill_gaps().await.unwrap();
        scene.send([message(1, "x"), anew(5), message(6, "c"), message(7, "b")]);
        assert_eq!(next(&mut messages, 4).await, ["x", "[b]", "[b]", "b"]);
    }
}

// Spec: RTL7f
in_both_formats! {
    async fn without_echo_the_clients_own_messages_are_not_filled_in(format) {
        let history = History::of(1, &["a"]);
        for (position, connection) in [(2, "connection-1"), (3, "connection-9"), (4, "connection-2")] {
            let name = format!("of {connection}");
            history.add(position, json!({ "name": name, "connectionId": connection }));
        }
        for (echo, expected) in [
            (false, &["a", "[of connection-9]", "e"][..]),
            (true, &["a", "[of connection-1]", "[of connection-9]", "[of connection-2]", "e"]),
        ] {
            let options = |options: ClientOptions| options.echo_messages(echo);
            let Scene { client, mut service, mut peer, channel, .. } =
                Scene::with(format, history.http(), options).await;
            let mut messages = channel.subscribe().fill_gaps().await.unwrap();
            peer.send(message(1, "a"));
            quiet(&client, &mut peer).await;
            let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
            peer.expect_attach("ch").await;
            peer.send(anew(4));
            peer.send(message(5, "e"));
            assert_eq!(next(&mut messages, expected.len()).await, expected);
        }
    }
}

// Spec: RTL10b
in_both_formats! {
    async fn live_messages_wait_until_history_is_read(format) {
        let history = History::of(1, &["a", "b"]);
        let mut scene = Scene::new(format, history.slow_http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(1, "a"), anew(2), message(3, "c")]);
        let start = Instant::now();
        assert_eq!(next(&mut messages, 1).await, ["a"]);
        // An abandoned wait loses no message and repeats no request.
        assert!(timeout(Duration::from_secs(3), messages.next_event()).await.is_err());
        scene.send([message(4, "d")]);
        assert_eq!(next(&mut messages, 3).await, ["[b]", "c", "d"]);
        assert_eq!(start.elapsed().as_secs(), 4);
        assert_eq!(scene.http.requests().len(), 2);
    }
}

// Spec: RTL10b
in_both_formats! {
    async fn gaps_are_filled_one_after_the_other(format) {
        let history = History::of(1, &["a", "b", "c", "d", "e"]);
        let mut scene = Scene::new(format, history.slow_http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(1, "a"), anew(2), message(3, "c"), anew(4), message(5, "e")]);
        assert_eq!(next(&mut messages, 5).await, ["a", "[b]", "c", "[d]", "e"]);
        // Gaps without a message between them are joined.
        history.add(6, json!({ "name": "f" }));
        history.add(7, json!({ "name": "g" }));
        scene.send([anew(6), anew(7)]);
        assert_eq!(next(&mut messages, 2).await, ["[f]", "[g]"]);
        assert_eq!(scene.http.requests().len(), 6);
    }
}

in_both_formats! {
    async fn the_overflow_policy_applies_while_history_is_read(format) {
        let history = History::of(1, &["a", "b"]);
        let mut scene = Scene::new(format, history.slow_http()).await;
        let subscribe = scene.channel.subscribe().fill_gaps();
        let mut messages =
            subscribe.capacity(2).overflow(Overflow::DropOldest).await.unwrap();
        scene.send([message(1, "a"), anew(2)]);
        assert_eq!(next(&mut messages, 1).await, ["a"]);
        assert!(timeout(Duration::from_secs(1), messages.next_event()).await.is_err());
        for position in 3..8 {
            scene.send([message(position, &position.to_string())]);
        }
        quiet(&scene.client, &mut scene.peer).await;
        assert_eq!(next(&mut messages, 4).await, ["[b]", "dropped 3", "6", "7"]);
    }
}

in_both_formats! {
    async fn messages_at_either_end_of_a_gap_are_delivered_once(format) {
        let history = History::of(1, &["a", "b", "c", "d", "e", "f"]);
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        // As with the parameter `rewind`: the attachment begins before the last received message.
        scene.send([message(1, "a"), message(2, "b"), anew(1), message(2, "b"), message(3, "c")]);
        assert_eq!(next(&mut messages, 3).await, ["a", "b", "c"]);
        // Messages that history already has are delivered, too.
        scene.send([anew(5), message(5, "e"), message(6, "f")]);
        assert_eq!(next(&mut messages, 3).await, ["[d]", "[e]", "f"]);
        quiet(&scene.client, &mut scene.peer).await;
        assert_eq!(said(&mut messages), [""; 0]);
    }
}

// Spec: RTL15b
in_both_formats! {
    async fn a_delivered_message_marks_the_start_of_the_gap(format) {
        let history = History::of(1, &["a", "b"]);
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        // The service does not report the new position.
        let ServerFrame::Message(mut first) = message(1, "a") else { unreachable!() };
        first.channel_serial = None;
        scene.send([ServerFrame::Message(first), anew(2), message(3, "c")]);
        assert_eq!(next(&mut messages, 3).await, ["a", "[b]", "c"]);
    }
}

in_both_formats! {
    async fn a_change_of_a_message_is_not_taken_for_a_repetition(format) {
        let history = History::of(1, &["a"]);
        history.add(2, json!({ "name": "b, changed", "action": 1 }));
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        let change = |position: u32, name: &str| {
            let ServerFrame::Message(mut frame) = message(position, name) else { unreachable!() };
            frame.channel_serial = Some("004".into());
            frame.items[0].action = Some(MessageAction::Update);
            ServerFrame::Message(frame)
        };
        scene.send([message(1, "a"), anew(3), change(2, "b, changed again"), change(1, "a, changed")]);
        assert_eq!(
            next(&mut messages, 4).await,
            ["a", "[b, changed]", "b, changed again", "a, changed"]
        );
    }
}

in_both_formats! {
    async fn a_gap_with_unreadable_history_is_reported(format) {
        let refused = respond(401, json!({ "error": { "code": 40160, "statusCode": 401, "message": "no" } }));
        for (answer, code) in [
            (refused, 40160),
            (Answer::Fail(HttpErrorKind::Connect), 80000),
            (Answer::Hang, 50003),
        ] {
            let http = ScriptedHttp::always(answer);
            let mut scene = Scene::new(format, http).await;
            let mut messages = scene.filling().await;
            scene.send([message(1, "a"), anew_because(5, 90198), message(6, "b")]);
            let start = Instant::now();
            let expected = ["a".into(), format!("gap 001..005 90198 {code}"), "b".into()];
            assert_eq!(next(&mut messages, 3).await, expected);
            assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
        }
    }
}

in_both_formats! {
    async fn an_unreadable_message_leaves_a_gap_among_the_filled_messages(format) {
        let history = History::of(1, &["a", "b", "c", "d", "e"]);
        history.0.lock().unwrap()[2].1["name"] = json!([]);
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(1, "a"), anew(4), message(5, "e")]);
        let expected = ["a", "gap 001..004 - 40013", "[b]", "[d]", "e"];
        assert_eq!(next(&mut messages, 5).await, expected);
        // One request for the newest message before the gap, one for the gap.
        assert_eq!(scene.http.requests().len(), 2);
    }
}

in_both_formats! {
    async fn an_unreadable_message_before_the_gap_is_ignored(format) {
        let history = History::of(1, &["broken", "a", "b", "c"]);
        history.0.lock().unwrap()[0].1["name"] = json!([]);
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(2, "a"), anew(3), message(4, "c")]);
        assert_eq!(next(&mut messages, 3).await, ["a", "[b]", "c"]);
    }
}

in_both_formats! {
    async fn an_oversized_page_is_requested_in_halves(format) {
        let history = History::default();
        // Together they exceed the 16 MiB that the client reads of a reply; half of them do not.
        let large = "x".repeat(1_500_000);
        for position in 1..=20 {
            history.add(position, json!({ "name": position.to_string(), "data": large }));
        }
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.channel.subscribe().fill_gaps_up_to(19).await.unwrap();
        scene.send([message(1, "1"), anew(20), message(21, "21")]);
        let filled: Vec<_> = (2..=20).map(|position| format!("[{position}]")).collect();
        let expected = [&["1".to_owned()], &filled[..], &["21".to_owned()]].concat();
        assert_eq!(next(&mut messages, 21).await, expected);
        let limits: Vec<_> =
            scene.http.requests().iter().map(|request| request.param("limit").unwrap()).collect();
        // Each attempt first requests the newest message before the gap.
        assert_eq!(limits, ["1", "20", "1", "10", "10"]);
    }
}

in_both_formats! {
    async fn messages_read_before_an_error_are_filled_in(format) {
        let names: Vec<String> = (1..=1_500).map(|number| number.to_string()).collect();
        let history = History::of(1, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let http = ScriptedHttp::new(move |request, _| {
            let request = Request(request.clone());
            match request.param("cursor") {
                Some(_) => Answer::Fail(HttpErrorKind::Connect),
                None => history.answer(&request),
            }
        });
        let mut scene = Scene::new(format, http).await;
        let mut messages = scene.filling().await;
        let anew = attached_with("ch", |frame| frame.channel_serial = Some("1500".into()));
        scene.send([message(1, "1"), anew, message(1501, "1501")]);
        let events = next(&mut messages, 1_003).await;
        assert_eq!(events[..3], ["1", "gap 001..1500 - 80000", "[501]"]);
        assert_eq!(events[1_001..], ["[1500]", "1501"]);
    }
}

in_both_formats! {
    async fn a_large_gap_is_reported_and_its_newest_messages_are_filled_in(format) {
        let history = History::of(1, &["a", "b", "c", "d", "e"]);
        for (limit, expected) in [
            (2, &["a", "gap 001..004 - 90004", "[c]", "[d]", "e"][..]),
            (3, &["a", "[b]", "[c]", "[d]", "e"]),
            (0, &["a", "gap 001..004 - 90004", "e"]),
        ] {
            let mut scene = Scene::new(format, history.http()).await;
            let mut messages = scene.channel.subscribe().fill_gaps_up_to(limit).await.unwrap();
            scene.send([message(1, "a"), anew(4), message(5, "e")]);
            assert_eq!(next(&mut messages, expected.len()).await, expected);
        }
    }
}

in_both_formats! {
    async fn a_gap_beyond_the_history_is_reported(format) {
        // The service no longer keeps the last received message, so others may be lost.
        let history = History::of(3, &["c", "d"]);
        let mut scene = Scene::new(format, history.http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(1, "a"), anew(4), message(5, "e")]);
        let expected = ["a", "gap 001..004 - 90003", "[c]", "[d]", "e"];
        assert_eq!(next(&mut messages, 5).await, expected);
        // After this message, the start of a gap is known.
        scene.send([anew(6), message(7, "g")]);
        history.add(5, json!({ "name": "e" }));
        history.add(6, json!({ "name": "f" }));
        assert_eq!(next(&mut messages, 2).await, ["[f]", "g"]);
    }
}

in_both_formats! {
    async fn a_gap_without_a_known_end_is_reported(format) {
        let mut scene = Scene::new(format, History::of(1, &["a", "b"]).http()).await;
        let mut messages = scene.filling().await;
        let anew = attached_with("ch", |frame| frame.channel_serial = None);
        scene.send([message(1, "a"), anew, message(3, "c")]);
        assert_eq!(next(&mut messages, 3).await, ["a", "gap 001..- - 90008", "c"]);
        assert_eq!(scene.http.requests().len(), 0);
    }
}

in_both_formats! {
    async fn a_gap_is_filled_after_the_connection_was_closed(format) {
        let history = History::of(1, &["a", "b"]);
        let mut scene = Scene::new(format, history.slow_http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(1, "a"), anew(2), message(3, "c")]);
        quiet(&scene.client, &mut scene.peer).await;
        let Scene { client, mut peer, .. } = scene;
        let (_, ()) = tokio::join!(client.close(), async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        });
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        assert_eq!(next(&mut messages, 3).await, ["a", "[b]", "c"]);
        assert_eq!(messages.next_event().await, None);
    }
}

in_both_formats! {
    async fn a_dropped_subscription_makes_no_more_requests(format) {
        let history = History::of(1, &["a", "b"]);
        let mut scene = Scene::new(format, history.slow_http()).await;
        let mut messages = scene.filling().await;
        scene.send([message(1, "a"), anew(2)]);
        assert_eq!(next(&mut messages, 1).await, ["a"]);
        assert!(timeout(Duration::from_secs(1), messages.next_event()).await.is_err());
        drop(messages);
        advance(60_000).await;
        assert_eq!(scene.http.requests().len(), 1);
        let _ = scene.service;
    }
}
