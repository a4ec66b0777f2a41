//! Replays: every phase, and both orders of frames that may cross on the wire.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use capably_core::{
    Batch, ChannelEvent, ChannelId, ChannelOptions, ChannelState, Client, Config, Credentials,
    DeltaError, Event, Gap, MembersQuery, Now, OpId, Outcome, Output, Place, ReplayEnd,
    ReplayOutcome, TransportEvent, TransportId, VcdiffDecoder,
};
use capably_protocol::{
    Annotation, ClientFrame, ConnectionDetails, Data, ErrorInfo, Flags, Message, PresenceAction,
    PresenceMessage, ServerFrame,
    frame::{Attached, Connected, Delivery},
};
use serde_json::json;

const CHANNEL: ChannelId = ChannelId(0);
const RESUMED: Flags = Flags::RESUMED;

/// A client with one channel, and its outputs in short.
struct World {
    client: Client,
    transport: TransportId,
    now: Now,
}

/// A decoder that can apply no delta.
#[derive(Debug)]
struct Broken;

impl VcdiffDecoder for Broken {
    fn decode(&self, _delta: &[u8], _base: &[u8]) -> Result<Vec<u8>, DeltaError> {
        Err("broken".into())
    }
}

impl World {
    /// The channel is attached at `000`, and has received messages up to `005`.
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let now = Now::default();
        let mut config = Config::new(Credentials::Key("app.key:secret".parse().unwrap()));
        configure(&mut config);
        let mut client = Client::new(Arc::new(config), 1, now);
        client.open_channel(CHANNEL, "ch".into(), ChannelOptions::default());
        client.connect(now);
        let transport = dialled(&mut client);
        let mut world = Self { client, transport, now };
        world.open();
        world.client.attach(CHANNEL, OpId(0), now);
        world.attached(Some("000"), Flags::NONE);
        for serial in ["001", "002", "003", "004", "005"] {
            world.receive(message(serial));
        }
        world.outputs();
        world
    }

    /// The transport opens, and the service sends CONNECTED.
    fn open(&mut self) {
        self.client.handle_transport(self.transport, TransportEvent::Opened, self.now);
        self.receive(ServerFrame::Connected(Box::new(Connected {
            connection_id: Some("connection".into()),
            details: Some(ConnectionDetails {
                connection_key: Some("key".into()),
                ..ConnectionDetails::default()
            }),
            error: None,
        })));
    }

    fn receive(&mut self, mut frame: ServerFrame) {
        self.client.handle_transport(self.transport, TransportEvent::Frame(&mut frame), self.now);
    }

    fn attached(&mut self, serial: Option<&str>, flags: Flags) {
        self.receive(ServerFrame::Attached(Box::new(Attached {
            channel: "ch".into(),
            channel_serial: serial.map(Into::into),
            flags,
            ..Attached::default()
        })));
    }

    /// A replay after this serial has begun, and the service has answered it.
    fn repeating(&mut self, after: &str) {
        assert!(self.client.replay(CHANNEL, after.into(), self.now));
        assert_eq!(self.outputs(), [format!("ATTACH {after}")]);
        self.attached(Some(after), RESUMED);
        assert_eq!(self.outputs(), ["granted"]);
    }

    fn stop(&mut self) {
        self.client.stop_replay(CHANNEL, self.now);
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.client.handle_timeout(self.now);
    }

    fn head(&self) -> &str {
        self.client.channel(CHANNEL).unwrap().channel_serial().unwrap()
    }

    fn state(&self) -> ChannelState {
        self.client.channel(CHANNEL).unwrap().state()
    }

    /// The outputs of the client, in short, without syncs of presence and the ends of operations.
    fn outputs(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            said.push(match self.client.poll_output() {
                Output::Timeout(_) => return said,
                Output::Send { frame: ClientFrame::Attach(attach), .. } => {
                    format!("ATTACH {}", attach.channel_serial.as_deref().unwrap_or("-"))
                }
                Output::Send { frame: ClientFrame::Detach { .. }, .. } => "DETACH".to_owned(),
                Output::Event(Event::Messages(_, batch)) => {
                    short(&batch, |message| message.name.as_deref().unwrap_or("-"))
                }
                Output::Event(Event::Annotations(_, batch)) => {
                    short(&batch, |annotation| annotation.name.as_deref().unwrap_or("-"))
                }
                Output::Event(Event::Presence(_, batch)) => {
                    short(&batch, |message| message.client_id.as_deref().unwrap_or("-"))
                }
                Output::Event(Event::ReplayEnded(_, end)) => ended(&end),
                Output::Event(Event::Gap(_, gap)) => {
                    let or_none = |serial: Option<capably_protocol::Str>| {
                        serial.map_or("-".to_owned(), |serial| serial.to_string())
                    };
                    let Gap { after, until, .. } = *gap;
                    format!("gap {}..{}", or_none(after), or_none(until))
                }
                Output::Event(Event::Granted(_)) => "granted".to_owned(),
                Output::Event(Event::Channel(_, change)) => match change.event {
                    ChannelEvent::Update => "update".to_owned(),
                    ChannelEvent::State(state) => state.to_string(),
                },
                Output::Event(Event::Done(op, outcome)) => match outcome {
                    Ok(Outcome::Members(members)) => {
                        let names = members.iter().filter_map(|member| member.client_id.as_deref());
                        format!("members {}", names.collect::<Vec<_>>().join(","))
                    }
                    Ok(_) => format!("done {}", op.0),
                    Err(error) => format!("failed {} {}", op.0, error.code.0),
                },
                _ => continue,
            });
        }
    }
}

/// The transport that the client dials.
fn dialled(client: &mut Client) -> TransportId {
    loop {
        match client.poll_output() {
            Output::Open { transport, .. } => return transport,
            Output::Timeout(_) => panic!("nothing is dialled"),
            _ => {}
        }
    }
}

/// A batch in short: the names of its items, and its place.
fn short<T>(batch: &Batch<T>, name: impl Fn(&T) -> &str) -> String {
    let names: Vec<_> = batch.items.iter().map(name).collect();
    let Place { after, serial, repeated } = &batch.place;
    let kind = if *repeated { "again" } else { "live" };
    let or_none =
        |serial: &Option<capably_protocol::Str>| serial.as_deref().unwrap_or("-").to_owned();
    format!("{kind} {} {}..{}", names.join(","), or_none(after), or_none(serial))
}

fn ended(end: &ReplayEnd) -> String {
    let until = end.until.as_deref().unwrap_or("-");
    match &end.outcome {
        ReplayOutcome::Complete => format!("complete {until}"),
        ReplayOutcome::Stopped => format!("stopped {until}"),
        ReplayOutcome::Silent => format!("silent {until}"),
        ReplayOutcome::Lost { after, reason } => format!("lost {after}..{until} {}", reason.code.0),
    }
}

fn message(serial: &str) -> ServerFrame {
    let mut delivery = Delivery::new("ch", vec![Message::new(serial, "data")]);
    delivery.id = Some(format!("id-{serial}").into());
    delivery.channel_serial = Some(serial.into());
    ServerFrame::Message(delivery)
}

fn annotation(serial: &str) -> ServerFrame {
    let item = Annotation { name: Some(serial.into()), ..Annotation::default() };
    let mut delivery = Delivery::new("ch", vec![item]);
    delivery.channel_serial = Some(serial.into());
    ServerFrame::Annotation(delivery)
}

fn member(action: PresenceAction, client: &str, serial: &str) -> Delivery<PresenceMessage> {
    let item = PresenceMessage {
        action: Some(action),
        client_id: Some(client.into()),
        ..PresenceMessage::default()
    };
    let mut delivery = Delivery::new("ch", vec![item]);
    delivery.connection_id = Some("other".into());
    delivery.id = Some(format!("other:{}", serial.trim_start_matches('0')).into());
    delivery.channel_serial = Some(serial.into());
    delivery
}

#[test]
fn a_replay_ends_with_the_frame_at_the_head() {
    let mut world = World::new();
    world.repeating("003");
    world.receive(message("004"));
    assert_eq!(world.outputs(), ["again 004 003..004"]);
    world.receive(message("005"));
    assert_eq!(world.outputs(), ["again 005 004..005", "complete 005"]);
    world.receive(message("006"));
    assert_eq!(world.outputs(), ["live 006 005..006"]);
    // An ended replay has no deadline.
    world.wait(11);
    assert_eq!(world.outputs(), [""; 0]);
}

#[test]
fn a_replay_ends_before_the_first_frame_beyond_the_head() {
    let mut world = World::new();
    world.repeating("003");
    world.receive(message("004"));
    // The service does not send the frame at the head: it may have been an echo, for example.
    world.receive(message("006"));
    assert_eq!(world.outputs(), ["again 004 003..004", "complete 005", "live 006 005..006"]);
    assert_eq!(world.head(), "006");
}

#[test]
fn frames_before_the_answer_are_live_and_are_repeated() {
    let mut world = World::new();
    assert!(world.client.replay(CHANNEL, "004".into(), world.now));
    world.receive(message("006"));
    assert_eq!(world.outputs(), ["ATTACH 004", "live 006 005..006"]);
    world.attached(Some("004"), RESUMED);
    for serial in ["005", "006", "007"] {
        world.receive(message(serial));
    }
    assert_eq!(
        world.outputs(),
        [
            "granted",
            "again 005 004..005",
            "again 006 005..006",
            "complete 006",
            "live 007 006..007"
        ]
    );
}

#[test]
fn repetitions_move_neither_the_position_nor_the_state() {
    let mut world = World::new();
    world.repeating("000");
    world.receive(message("001"));
    assert_eq!(world.head(), "005");
    assert_eq!(world.state(), ChannelState::Attached);
    world.receive(annotation("002"));
    assert_eq!(world.outputs(), ["again 001 000..001", "again 002 001..002"]);
    assert_eq!(world.head(), "005");
}

#[test]
fn live_batches_are_joined_and_repetitions_are_not() {
    let mut world = World::new();
    world.receive(message("006"));
    world.receive(message("007"));
    assert_eq!(world.outputs(), ["live 006,007 005..007"]);
    world.repeating("005");
    world.receive(message("006"));
    world.receive(message("007"));
    world.receive(message("008"));
    assert_eq!(
        world.outputs(),
        ["again 006 005..006", "again 007 006..007", "complete 007", "live 008 007..008"]
    );
}

#[test]
fn a_frame_without_a_serial_is_always_live() {
    let unplaced = || {
        let mut delivery = Delivery::new("ch", vec![Message::new("now", "data")]);
        delivery.id = Some("id".into());
        ServerFrame::Message(delivery)
    };
    let mut world = World::new();
    world.receive(message("006"));
    world.receive(unplaced());
    assert_eq!(world.outputs(), ["live 006 005..006", "live now 006..-"], "they are not joined");
    world.repeating("004");
    world.receive(unplaced());
    assert_eq!(world.outputs(), ["live now 006..-"]);
    world.stop();
    world.receive(unplaced());
    assert_eq!(world.outputs(), ["ATTACH 006", "live now 006..-"]);
}

#[test]
fn a_replay_that_the_service_refuses_is_lost_and_the_channel_goes_on() {
    let mut world = World::new();
    assert!(world.client.replay(CHANNEL, "002".into(), world.now));
    world.attached(Some("009"), Flags::NONE);
    assert_eq!(world.outputs(), ["ATTACH 002", "ATTACH 005"]);
    // A replay from there would leave messages out.
    world.receive(message("010"));
    assert_eq!(world.outputs(), [""; 0]);
    assert_eq!(world.head(), "005");
    world.attached(Some("005"), RESUMED);
    assert_eq!(world.outputs(), ["granted".to_owned(), format!("lost 002..005 {}", lost_code())]);
    world.receive(message("006"));
    assert_eq!(world.outputs(), ["live 006 005..006"]);
}

fn lost_code() -> String {
    capably_protocol::ErrorCode::CHANNEL_CONTINUITY_NOT_GUARANTEED.0.to_string()
}

#[test]
fn a_stopped_replay_drops_repetitions() {
    let mut world = World::new();
    world.repeating("002");
    world.receive(message("003"));
    world.stop();
    assert_eq!(world.outputs(), ["again 003 002..003", "ATTACH 005"]);
    for frame in [message("004"), annotation("005"), message("006")] {
        world.receive(frame);
    }
    world.stop();
    assert_eq!(world.outputs(), [""; 0]);
    assert_eq!(world.head(), "005");
    world.attached(Some("005"), RESUMED);
    world.receive(message("006"));
    assert_eq!(world.outputs(), ["granted", "stopped 005", "live 006 005..006"]);
}

#[test]
fn a_return_without_continuity_is_a_gap_from_the_head() {
    let mut world = World::new();
    world.repeating("002");
    world.stop();
    world.attached(Some("009"), Flags::NONE);
    assert_eq!(world.outputs(), ["ATTACH 005", "stopped 005", "gap 005..009", "update"]);
    world.receive(message("010"));
    assert_eq!(world.outputs(), ["live 010 009..010"]);
}

#[test]
fn continuity_lost_during_a_replay_is_a_gap_from_the_last_repetition() {
    let mut world = World::new();
    world.repeating("002");
    world.receive(message("003"));
    world.attached(Some("009"), Flags::NONE);
    world.attached(Some("005"), RESUMED);
    assert_eq!(
        world.outputs(),
        [
            "again 003 002..003".to_owned(),
            "ATTACH 005".into(),
            "granted".into(),
            format!("lost 003..005 {}", lost_code())
        ]
    );
}

#[test]
fn a_late_answer_to_the_first_request_does_not_answer_the_second() {
    let mut world = World::new();
    assert!(world.client.replay(CHANNEL, "002".into(), world.now));
    world.attached(None, Flags::NONE);
    assert_eq!(world.outputs(), ["ATTACH 002", "ATTACH 005"]);
    world.attached(Some("002"), RESUMED);
    world.receive(message("003"));
    assert_eq!(world.outputs(), [""; 0]);
    world.attached(Some("005"), RESUMED);
    assert_eq!(world.outputs(), ["granted".to_owned(), format!("lost 002..005 {}", lost_code())]);
}

#[test]
fn an_unanswered_replay_is_lost_and_the_channel_is_attached_again() {
    let mut world = World::new();
    assert!(world.client.replay(CHANNEL, "002".into(), world.now));
    world.wait(9);
    assert_eq!(world.outputs(), ["ATTACH 002"]);
    world.wait(1);
    assert_eq!(world.outputs(), ["lost 002..005 90007", "attaching", "ATTACH 005"]);
    // The late answer to the first request.
    world.attached(Some("002"), RESUMED);
    world.receive(message("003"));
    assert_eq!(world.outputs(), [""; 0]);
    assert_eq!((world.state(), world.head()), (ChannelState::Attaching, "005"));
    world.attached(Some("005"), RESUMED);
    world.receive(message("006"));
    assert_eq!(world.outputs(), ["attached", "live 006 005..006"]);
}

#[test]
fn an_unanswered_return_becomes_an_attach() {
    let mut world = World::new();
    world.repeating("002");
    world.stop();
    world.wait(10);
    assert_eq!(world.outputs(), ["ATTACH 005", "attaching", "ATTACH 005"]);
    world.receive(message("004"));
    assert_eq!(world.head(), "005");
    world.attached(Some("005"), RESUMED);
    assert_eq!(world.outputs(), ["attached"]);
}

#[test]
fn silence_ends_a_replay_and_a_repetition_does_not_count_as_silence() {
    let mut world = World::new();
    world.repeating("002");
    world.wait(9);
    world.receive(message("003"));
    assert_eq!(world.outputs(), ["again 003 002..003"]);
    world.wait(1);
    assert_eq!(world.outputs(), [""; 0]);
    world.wait(10);
    assert_eq!(world.outputs(), ["ATTACH 005"]);
    world.attached(Some("005"), RESUMED);
    assert_eq!(world.outputs(), ["granted", "silent 005"]);
}

#[test]
fn a_drop_ends_only_the_replay() {
    for phase in ["asked", "repeating", "returning"] {
        let mut world = World::new();
        assert!(world.client.replay(CHANNEL, "002".into(), world.now));
        if phase != "asked" {
            world.attached(Some("002"), RESUMED);
            world.receive(message("003"));
        }
        if phase == "returning" {
            world.stop();
        }
        world.outputs();
        let lost = TransportEvent::Closed(ErrorInfo::new(80003.into(), 0, "lost"));
        world.client.handle_transport(world.transport, lost, world.now);
        world.transport = dialled(&mut world.client);
        world.open();
        world.receive(message("004"));
        assert_eq!(world.head(), "005", "{phase}");
        assert_eq!(world.outputs(), ["attaching", "ATTACH 005"], "{phase}");
        world.attached(Some("005"), RESUMED);
        world.receive(message("006"));
        assert_eq!(world.outputs(), ["attached", "live 006 005..006"], "{phase}");
    }
}

#[test]
fn a_detach_waits_until_the_replay_has_returned() {
    // Before the answer, and after it.
    for answered in [false, true] {
        let mut world = World::new();
        if answered {
            world.repeating("002");
        } else {
            assert!(world.client.replay(CHANNEL, "002".into(), world.now));
            assert_eq!(world.outputs(), ["ATTACH 002"]);
        }
        world.client.detach(CHANNEL, OpId(7), world.now);
        if !answered {
            assert_eq!(world.outputs(), [""; 0]);
            world.attached(Some("002"), RESUMED);
            assert_eq!(world.outputs(), ["granted", "ATTACH 005"]);
        } else {
            assert_eq!(world.outputs(), ["ATTACH 005"]);
        }
        assert!(!world.client.replay(CHANNEL, "002".into(), world.now));
        world.attached(Some("005"), RESUMED);
        assert_eq!(
            world.outputs(),
            ["granted", "stopped 005", "detaching", "DETACH"],
            "{answered}"
        );
        world.receive(ServerFrame::Detached { channel: "ch".into(), error: None });
        assert_eq!(world.outputs(), ["detached", "done 7"]);
    }
}

#[test]
fn a_waiting_detach_resolves_when_the_connection_is_lost() {
    let mut world = World::new();
    world.repeating("002");
    world.client.detach(CHANNEL, OpId(7), world.now);
    world.outputs();
    let lost = TransportEvent::Closed(ErrorInfo::new(80003.into(), 0, "lost"));
    world.client.handle_transport(world.transport, lost, world.now);
    assert_eq!(world.outputs(), ["detached", "done 7"]);
}

#[test]
fn new_options_wait_until_the_replay_has_returned() {
    let mut world = World::new();
    world.repeating("002");
    let mut options = ChannelOptions::default();
    options.params.insert("rewind".to_owned(), "1".to_owned());
    world.client.set_channel_options(CHANNEL, options, OpId(7), world.now);
    world.attached(Some("005"), RESUMED);
    assert_eq!(
        world.outputs(),
        ["ATTACH 005", "granted", "stopped 005", "attaching", "ATTACH 005"]
    );
    world.attached(Some("005"), RESUMED);
    assert_eq!(world.outputs(), ["attached", "done 7"]);
}

#[test]
fn an_attach_during_a_replay_resolves_at_once() {
    let mut world = World::new();
    world.repeating("002");
    world.client.attach(CHANNEL, OpId(7), world.now);
    assert_eq!(world.outputs(), ["done 7"]);
}

#[test]
fn a_channel_that_the_service_detaches_is_attached_again_from_the_head() {
    let mut world = World::new();
    world.repeating("002");
    world.receive(message("003"));
    world.receive(ServerFrame::Detached { channel: "ch".into(), error: None });
    assert_eq!(world.outputs(), ["again 003 002..003", "attaching", "ATTACH 005"]);
}

#[test]
fn a_replay_must_start_before_the_head() {
    for after in ["005", "006"] {
        let mut world = World::new();
        assert!(world.client.replay(CHANNEL, after.into(), world.now));
        assert_eq!(world.outputs(), [format!("lost {after}..005 {}", lost_code())]);
    }
}

#[test]
fn one_replay_at_a_time_and_only_while_attached() {
    let mut world = World::new();
    world.repeating("002");
    assert!(!world.client.replay(CHANNEL, "001".into(), world.now));
    assert!(!world.client.replay(ChannelId(9), "001".into(), world.now));
    world.client.close(world.now);
    assert!(!world.client.replay(CHANNEL, "001".into(), world.now));
    // There is no replay to stop.
    world.outputs();
    world.stop();
    assert_eq!(world.outputs(), [""; 0]);
}

// Spec: RTP1, RTP2
#[test]
fn repeated_presence_is_emitted_and_changes_no_member() {
    let mut world = World::new();
    world.receive(ServerFrame::Presence(member(PresenceAction::Enter, "ada", "006")));
    world.receive(ServerFrame::Presence(member(PresenceAction::Leave, "ada", "007")));
    world.receive(ServerFrame::Presence(member(PresenceAction::Enter, "bob", "008")));
    world.outputs();
    assert!(world.client.replay(CHANNEL, "005".into(), world.now));
    world.attached(Some("005"), RESUMED | Flags::HAS_PRESENCE);
    let mut page = member(PresenceAction::Present, "bob", "008");
    page.channel_serial = Some("sync:".into());
    world.receive(ServerFrame::Sync(page));
    world.receive(ServerFrame::Presence(member(PresenceAction::Enter, "ada", "006")));
    let query = MembersQuery::default();
    world.client.members(CHANNEL, query, OpId(7), world.now);
    assert_eq!(world.outputs(), ["ATTACH 005", "granted", "again ada 005..006", "members bob"]);
    world.receive(ServerFrame::Presence(member(PresenceAction::Leave, "ada", "007")));
    world.receive(ServerFrame::Presence(member(PresenceAction::Enter, "bob", "008")));
    world.receive(ServerFrame::Presence(member(PresenceAction::Leave, "bob", "009")));
    assert_eq!(
        world.outputs(),
        ["again ada 006..007", "again bob 007..008", "complete 008", "live bob 008..009"]
    );
}

// Spec: RTL18
#[test]
fn a_delta_that_fails_in_a_replay_ends_it_and_is_not_requested_again() {
    let mut world = World::with(|config| config.vcdiff = Some(Arc::new(Broken)));
    world.repeating("002");
    world.receive(message("003"));
    let mut delta = Message::new("004", Data::Binary(vec![1].into()));
    delta.encoding = Some("vcdiff".into());
    delta.extras = json!({"delta": {"from": "id-003:0", "format": "vcdiff"}}).as_object().cloned();
    let mut delivery = Delivery::new("ch", vec![delta]);
    delivery.id = Some("id-004".into());
    delivery.channel_serial = Some("004".into());
    world.receive(ServerFrame::Message(delivery));
    world.attached(Some("005"), RESUMED);
    assert_eq!(
        world.outputs(),
        ["again 003 002..003", "ATTACH 005", "granted", "lost 003..005 40018"]
    );
    assert_eq!(world.state(), ChannelState::Attached);
}

#[test]
fn a_channel_that_is_released_has_no_deadline() {
    let mut world = World::new();
    world.repeating("002");
    world.client.release_channel(CHANNEL, world.now);
    world.outputs();
    assert!(!matches!(
        world.client.poll_output(),
        Output::Timeout(Some((_, capably_core::Timer::Replay(_))))
    ));
}
