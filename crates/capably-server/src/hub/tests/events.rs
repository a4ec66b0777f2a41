//! The events of channels that webhooks report.

use capably_protocol::{PresenceAction, PresenceMessage};

use super::*;
use crate::hub::{ChannelEvent, Happening, Observed};

const ALL: Observed = Observed { messages: true, presence: true, lifecycle: true, occupancy: true };

impl Bench {
    /// The events since the last call, as text.
    fn events(&mut self) -> Vec<String> {
        self.app.take_events(self.now, &mut self.outputs).iter().map(described).collect()
    }

    fn enter(&mut self, transport: TransportId, channel: &str, msg_serial: u64, client: &str) {
        let member = PresenceMessage {
            action: Some(PresenceAction::Enter),
            client_id: Some(client.into()),
            ..PresenceMessage::default()
        };
        let frame = ClientFrame::Presence(Publish {
            channel: channel.into(),
            msg_serial,
            items: Arc::from(vec![member]),
            params: Default::default(),
        });
        self.send(transport, vec![frame]);
    }
}

fn described(event: &ChannelEvent) -> String {
    let ChannelEvent { channel, happening, .. } = event;
    match happening {
        Happening::Entry(entry) => {
            let texts = entry.items().iter().filter_map(|item| item.data.as_str());
            let members = entry.members().iter().filter_map(|item| item.action);
            let texts = texts.map(str::to_owned);
            let all: Vec<String> = texts.chain(members.map(|it| format!("{it:?}"))).collect();
            format!("{channel}: {}", all.join(","))
        }
        Happening::Opened(_) => format!("{channel} opened"),
        Happening::Closed => format!("{channel} closed"),
        Happening::Occupancy(it) => format!("{channel} has {}", it.connections),
    }
}

#[test]
fn nothing_is_noted_that_nobody_observes() {
    let mut bench = Bench::new();
    assert!(!bench.app.is_observed());
    let (client, _) = bench.connect(None);
    bench.attach(client, "a", None);
    bench.publish(client, "a", 0, "x");
    bench.app.observe(ALL);
    assert!(bench.app.is_observed());
    assert_eq!(bench.events(), Vec::<String>::new());
}

#[test]
fn events_come_in_their_order() {
    let mut bench = Bench::new();
    bench.app.observe(ALL);
    let (client, _) = bench.connect(None);
    bench.attach(client, "a", None);
    bench.publish(client, "a", 0, "x");
    bench.enter(client, "a", 1, "ada");
    bench.publish(client, "b", 2, "y");
    assert_eq!(bench.events(), ["a opened", "a: x", "a: Enter", "b opened", "b: y", "a has 1"]);
    bench.app.observe(Observed { messages: true, ..Observed::default() });
    bench.enter(client, "a", 3, "bob");
    bench.publish(client, "c", 4, "z");
    assert_eq!(bench.events(), ["c: z"]);
}

#[test]
fn members_that_are_lost_leave() {
    let mut bench = Bench::new();
    bench.app.observe(Observed { presence: true, ..Observed::default() });
    let (client, _) = bench.connect(None);
    bench.attach(client, "a", None);
    bench.enter(client, "a", 0, "ada");
    assert_eq!(bench.events(), ["a: Enter"]);
    bench.app.transport_closed(client, bench.now, &mut bench.outputs);
    assert_eq!(bench.events(), Vec::<String>::new());
    bench.advance(Duration::from_secs(20));
    assert_eq!(bench.events(), ["a: Leave"]);
}

#[test]
fn a_channel_closes_when_nobody_can_resume_on_it() {
    let mut bench = Bench::new();
    bench.app.observe(Observed { lifecycle: true, ..Observed::default() });
    let (client, _) = bench.connect(None);
    bench.attach(client, "a", None);
    bench.app.transport_closed(client, bench.now, &mut bench.outputs);
    assert_eq!(bench.events(), ["a opened"]);
    for _ in 0..10 {
        bench.advance(Duration::from_secs(60));
    }
    assert_eq!(bench.events(), ["a closed"]);
    let (client, _) = bench.connect(None);
    bench.attach(client, "a", None);
    assert_eq!(bench.events(), ["a opened"]);
}

#[test]
fn changes_of_the_occupancy_are_combined_except_the_first_and_the_last() {
    let mut bench = Bench::new();
    bench.app.observe(Observed { occupancy: true, ..Observed::default() });
    let clients: Vec<_> = (0..4).map(|_| bench.connect(None).0).collect();
    bench.attach(clients[0], "a", None);
    assert_eq!(bench.events(), ["a has 1"]);
    bench.attach(clients[1], "a", None);
    bench.attach(clients[2], "a", None);
    assert_eq!(bench.events(), Vec::<String>::new());
    assert_eq!(bench.app.next_timeout(), Some(bench.now.steady + Duration::from_secs(1)));
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.events(), ["a has 3"]);
    bench.attach(clients[3], "a", None);
    for client in clients {
        bench.send(client, vec![ClientFrame::Detach { channel: "a".into() }]);
    }
    assert_eq!(bench.events(), ["a has 0"], "at once");
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.events(), Vec::<String>::new());
}

#[test]
fn a_publish_that_is_repeated_or_refused_makes_no_event() {
    let mut bench = Bench::new();
    bench.app.observe(Observed { messages: true, ..Observed::default() });
    let (client, _) = bench.connect(None);
    let message = Message { id: Some("mine".into()), ..Message::new("n", "x") };
    bench.send(client, vec![publish("a", 0, vec![message.clone()])]);
    bench.send(client, vec![publish("a", 1, vec![message])]);
    bench.send(client, vec![publish("a", 2, vec![Message::new("n", "y".repeat(2000))])]);
    assert_eq!(bench.events(), ["a: x"]);
}
