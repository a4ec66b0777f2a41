//! What is put out to be kept, and what comes back of it, in virtual time.

use capably_protocol::{
    Annotation, AnnotationAction, MessageAction, PresenceAction, PresenceMessage,
};

use super::*;
use crate::{
    hub::keep::{Reader, Record, version},
    storage::{Memory, Storage},
};

/// A bench whose app is kept in a storage.
struct Kept {
    bench: Bench,
    memory: Memory,
}

impl std::ops::Deref for Kept {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl std::ops::DerefMut for Kept {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.bench
    }
}

impl Kept {
    fn new() -> Self {
        Self::of(Bench::new())
    }

    fn of(mut bench: Bench) -> Self {
        // As the front's clock, which knows of a time before it was started.
        bench.now.steady += Duration::from_secs(1_000_000);
        bench.app.keep();
        let spec = AppSpec { created: Some(bench.now.wall), ..spec(&bench.key) };
        bench.outputs.push(Output::Keep(Record::spec(&spec)));
        let memory = Memory::new();
        memory.commit(&[version()]).unwrap();
        Self { bench, memory }
    }

    /// Stores what is to be kept so far.
    fn store(&mut self) {
        self.bench.app.keep_serials(&mut self.bench.outputs);
        let mut changes = Vec::new();
        self.bench.outputs.retain(|output| match output {
            Output::Keep(record) => {
                record.write(APP, &mut changes);
                false
            }
            _ => true,
        });
        self.memory.commit(&changes).unwrap();
    }

    /// How many pairs are stored.
    fn stored(&mut self) -> usize {
        self.store();
        let mut count = 0;
        self.memory.load(&mut |_, _| count += 1).unwrap();
        count
    }

    /// What another process would have.
    fn restored(&self) -> App {
        let mut reader = Reader::new(self.now);
        self.memory.load(&mut |key, value| reader.take(key, value)).unwrap();
        let saved = reader.finish().unwrap().apps.pop().unwrap();
        App::restore(Arc::clone(&self.app.settings), saved, self.now)
    }

    /// The process ends, and another goes on.
    fn restart(&mut self) {
        self.store();
        self.bench.app = self.restored();
        self.bench.outputs.clear();
    }

    fn rest(&mut self, channel: &str, text: &str) -> Str {
        let identity = self.identity();
        let Bench { app, now, outputs, .. } = &mut self.bench;
        let messages = vec![Message::new("m", text)];
        app.publish(&identity, &channel.into(), messages, *now, outputs).unwrap().serials.remove(0)
    }

    /// Attaches a new connection from this serial; the code of the error, if there is one.
    fn continuity(&mut self, channel: &str, serial: &Str) -> Result<Vec<String>, u32> {
        let (transport, _) = self.connect(None);
        let attached = self.attach(transport, channel, Some(serial));
        match attached.error {
            Some(error) => Err(error.code.0),
            None => Ok(self.texts(transport).0),
        }
    }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.data.as_str().unwrap()).collect()
}

#[test]
fn nothing_is_put_out_that_nobody_keeps() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.attach(transport, "a", None);
    bench.publish(transport, "a", 0, "x");
    bench.advance(Duration::from_secs(200));
    bench.app.keep_serials(&mut bench.outputs);
    bench.app.forget(&mut bench.outputs);
    assert!(!bench.outputs.iter().any(|output| matches!(output, Output::Keep(_))));
}

#[test]
fn time_goes_on_while_no_server_runs() {
    let mut kept = Kept::new();
    kept.rest("a", "one");
    kept.advance(Duration::from_secs(100));
    kept.restart();
    kept.rest("a", "two");
    assert_eq!(texts(&kept.history("a")), ["one", "two"]);
    kept.advance(Duration::from_secs(51));
    assert_eq!(texts(&kept.history("a")), ["two"]);
    kept.restart();
    assert_eq!(texts(&kept.history("a")), ["two"]);
    kept.store();
    kept.bench.now.wall += 100_000;
    kept.bench.now.steady += Duration::from_secs(100);
    kept.restart();
    assert_eq!(kept.history("a"), []);
}

#[test]
fn what_expires_is_removed_from_what_is_kept() {
    let mut kept = Kept::new();
    let empty = kept.stored();
    for number in 0..10 {
        kept.rest("a", &number.to_string());
    }
    // Ten messages, and where they begin.
    assert_eq!(kept.stored(), empty + 11);
    kept.advance(Duration::from_secs(100));
    kept.rest("a", "later");
    assert_eq!(kept.stored(), empty + 12);
    kept.advance(Duration::from_secs(60));
    assert_eq!(kept.stored(), empty + 2);
    for _ in 0..3 {
        kept.advance(Duration::from_secs(160));
    }
    // The channel is forgotten, and with it where it began.
    assert_eq!(kept.stored(), empty);
    kept.rest("a", "again");
    assert_eq!(kept.stored(), empty + 2);
    let mut outputs = Vec::new();
    kept.bench.app.forget(&mut outputs);
    kept.bench.outputs.append(&mut outputs);
    assert_eq!(kept.stored(), 1, "but for the version");
    kept.rest("a", "after the end");
    assert_eq!(kept.stored(), 1);
}

#[test]
fn a_flood_does_not_fill_the_storage() {
    let retention = Retention { frames: 10, bytes: 100_000_000, age: Duration::from_secs(150) };
    let mut kept = Kept::of(Bench::with_retention(retention));
    let (mut most, mut total) = (0, 0);
    for round in 0..25 {
        for number in 0..1000 {
            kept.rest("a", &(round * 1000 + number).to_string());
        }
        total += 1000;
        most = most.max(kept.stored());
    }
    assert!(total > most * 2 && most < 10_100, "{most} of {total}");
    kept.restart();
    let expected = numbers(24_990..25_000);
    assert_eq!(texts(&kept.history("a")), expected);
}

#[test]
fn serials_never_come_again_whatever_the_clock_does() {
    let mut kept = Kept::new();
    let mut newest = kept.rest("a", "x");
    for step in 0..5 {
        kept.restart();
        // Each process starts earlier than the last one.
        kept.bench.now.wall -= 3_600_000;
        let serial = kept.rest("b", "x");
        assert!(serial > newest, "{serial} after {newest}");
        newest = serial;
        if step == 3 {
            // Even when nothing is left of what was published.
            for _ in 0..4 {
                kept.advance(Duration::from_secs(160));
            }
            assert_eq!(kept.app.next_timeout(), None);
        }
    }
}

#[test]
fn continuity_is_as_it_was() {
    let retention = Retention { frames: 3, bytes: 100_000_000, age: Duration::from_secs(150) };
    let mut kept = Kept::of(Bench::with_retention(retention));
    let (transport, _) = kept.connect(None);
    let before_a = kept.attach(transport, "a", None).channel_serial.unwrap();
    kept.advance(Duration::from_secs(1));
    let first = Str::from(&kept.rest("b", "0")[..24]);
    for text in ["1", "2", "3"] {
        kept.rest("b", text);
    }
    kept.rest("a", "only");
    // So that what is kept is what is in the log.
    kept.advance(Duration::from_secs(60));
    for _ in 0..2 {
        kept.restart();
        assert_eq!(kept.continuity("a", &before_a), Ok(vec!["only".to_owned()]));
        assert_eq!(kept.continuity("b", &before_a), Err(90003));
        assert_eq!(kept.continuity("b", &first), Ok(numbers(1..4)));
        // A channel that nobody has published on has lost nothing.
        assert_eq!(kept.continuity("c", &first), Ok(vec![]));
    }
    // One that was forgotten may have.
    for _ in 0..4 {
        kept.advance(Duration::from_secs(160));
    }
    kept.restart();
    assert_eq!(kept.continuity("a", &before_a), Err(90003));
}

/// All that can be read of a channel.
fn everything(app: &mut App, now: Now, channel: &str) -> String {
    let identity = Identity::of_key(&app.access.keys[0].clone(), None).unwrap();
    let query = HistoryQuery { page: all(Direction::Forwards), from_serial: None };
    let history = app.history(&identity, channel, &query, now).unwrap().items;
    let mut found = format!("{history:#?}");
    let page = all(Direction::Forwards);
    for serial in history.iter().filter_map(|message| message.serial.as_deref()) {
        let versions = app.versions(&identity, channel, serial, &page, now).unwrap().items;
        let annotations = app.annotations(&identity, channel, serial, &page, now).unwrap().items;
        found += &format!("{versions:#?} {annotations:#?}");
    }
    let presence = app.presence_history(&identity, channel, &page).unwrap().items;
    found + &format!("{presence:#?}")
}

#[test]
fn whatever_happens_is_read_back_as_it_was() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let retention = Retention { frames: 60, bytes: 100_000, age: Duration::from_secs(150) };
        let mut kept = Kept::of(Bench::with_retention(retention));
        let channels = ["plain", "mutable:a", "mutable:b"];
        let identity = Identity::of_key(&kept.key, Some("ada".into())).unwrap();
        let (mut transport, _) = kept.connect_as(identity.clone(), None, true);
        let mut msg_serial = 0;
        for step in 0..150 {
            let channel = Str::from(channels[random.usize(..channels.len())]);
            let serials: Vec<Str> =
                kept.history(&channel).into_iter().filter_map(|message| message.serial).collect();
            let serial =
                (!serials.is_empty()).then(|| serials[random.usize(..serials.len())].clone());
            let Bench { app, now, outputs, .. } = &mut kept.bench;
            match (random.u8(..12), serial) {
                (0..4, _) | (4..8, None) => {
                    let id = random.bool().then(|| Str::from(format!("id {}", random.u8(..50))));
                    let text = Message::new("m", "x".repeat(random.usize(..200)));
                    let binary = Message::new("b", vec![step as u8; random.usize(..200)]);
                    let messages = match id {
                        Some(id) => vec![Message { id: Some(id), ..text }],
                        None => vec![text, binary],
                    };
                    app.publish(&identity, &channel, messages, *now, outputs).unwrap();
                }
                (4..6, Some(serial)) => {
                    let actions =
                        [MessageAction::Update, MessageAction::Append, MessageAction::Delete];
                    let change = Message {
                        action: Some(actions[random.usize(..actions.len())]),
                        serial: Some(serial),
                        id: random.bool().then(|| Str::from(format!("change {step}"))),
                        ..Message::new("changed", "y")
                    };
                    // Not on the channel whose messages stay as they are, nor to bytes or what is full.
                    let _ = app.change(&identity, &channel, change, *now, outputs);
                }
                (6..8, Some(serial)) => {
                    let action = match random.u8(..3) {
                        0 => AnnotationAction::Delete,
                        _ => AnnotationAction::Create,
                    };
                    let annotation = Annotation {
                        action: Some(action),
                        annotation_type: Some("reaction:distinct.v1".into()),
                        name: Some(Str::from(format!("n{}", random.u8(..3)))),
                        ..Annotation::default()
                    };
                    let _ =
                        app.annotate(&identity, &channel, &serial, vec![annotation], *now, outputs);
                }
                (8, _) => {
                    kept.bench.outputs.retain(|output| matches!(output, Output::Keep(_)));
                    kept.attach(transport, &channel, None);
                    let action = match random.bool() {
                        true => PresenceAction::Enter,
                        false => PresenceAction::Leave,
                    };
                    let member = PresenceMessage { action: Some(action), ..Default::default() };
                    let enter = ClientFrame::Presence(Publish {
                        channel,
                        msg_serial,
                        items: vec![member].into(),
                        params: Default::default(),
                    });
                    kept.send(transport, vec![enter]);
                    msg_serial += 1;
                }
                (9, _) => kept.advance(Duration::from_secs(random.u64(..40))),
                _ => {
                    kept.store();
                    let (mut restored, now) = (kept.restored(), kept.now);
                    for channel in channels {
                        let before = everything(&mut kept.bench.app, now, channel);
                        let after = everything(&mut restored, now, channel);
                        assert!(before == after, "seed {seed}, step {step}: {before}\n{after}");
                    }
                    if random.bool() {
                        kept.restart();
                        transport = kept.connect_as(identity.clone(), None, true).0;
                        msg_serial = 0;
                    }
                }
            }
        }
    }
}

/// An app with room for about 70 messages of 900 bytes.
fn cramped() -> Kept {
    let mut bench = Bench::new();
    let settings = Settings { max_log_bytes: 100_000, ..(*bench.app.settings).clone() };
    bench.app = App::new(Arc::new(settings), spec(&bench.key), bench.now);
    Kept::of(bench)
}

impl Kept {
    /// How many messages of the channel another process with more room would have.
    fn kept_of(&mut self, channel: &str) -> usize {
        self.store();
        let mut reader = Reader::new(self.now);
        self.memory.load(&mut |key, value| reader.take(key, value)).unwrap();
        let saved = reader.finish().unwrap().apps.pop().unwrap();
        let settings = Settings { max_log_bytes: 1_000_000_000, ..(*self.app.settings).clone() };
        let mut roomy = Bench { now: self.now, ..Bench::new() };
        roomy.app = App::restore(Arc::new(settings), saved, self.now);
        roomy.history(channel).len()
    }
}

#[test]
fn what_makes_room_in_memory_stays_in_storage() {
    let mut kept = cramped();
    let text = "x".repeat(900);
    for channel in ["a", "b", "a", "c"] {
        for _ in 0..30 {
            kept.rest(channel, &text);
        }
    }
    let in_memory = ["a", "b", "c"].map(|channel| kept.history(channel).len());
    assert!(in_memory.iter().sum::<usize>() <= 70, "{in_memory:?}");
    for (channel, count) in [("a", 60), ("b", 30), ("c", 30)] {
        assert_eq!(kept.kept_of(channel), count, "{channel}");
    }
    // Sweeps, and another process with as little room, change nothing about it.
    kept.advance(Duration::from_secs(61));
    kept.rest("a", "y");
    kept.restart();
    let in_memory = ["a", "b", "c"].map(|channel| kept.history(channel).len());
    assert!((1..=70).contains(&in_memory.iter().sum::<usize>()), "{in_memory:?}");
    for (channel, count) in [("a", 61), ("b", 30), ("c", 30)] {
        assert_eq!(kept.kept_of(channel), count, "{channel}");
    }
    // In its time, all of it goes.
    kept.advance(Duration::from_secs(150));
    kept.advance(Duration::from_secs(61));
    for (channel, count) in [("a", 0), ("b", 0), ("c", 0)] {
        assert_eq!(kept.kept_of(channel), count, "{channel}");
    }
    for _ in 0..5 {
        kept.advance(Duration::from_secs(61));
    }
    assert_eq!(kept.app.channels.names().count(), 0);
}

#[test]
fn what_is_taken_back_leaves_in_storage_what_made_room() {
    let mut kept = cramped();
    let text = "x".repeat(900);
    for _ in 0..100 {
        kept.rest("a", &text);
    }
    kept.store();
    let mark = kept.app.mark();
    kept.rest("a", "lost");
    kept.bench.outputs.clear();
    let Bench { app, outputs, .. } = &mut kept.bench;
    app.withdraw(mark, &crate::hub::error::not_stored(), outputs);
    kept.rest("a", "next");
    assert_eq!(kept.kept_of("a"), 101);
}

#[test]
fn a_channel_stores_no_more_for_having_made_room_in_memory() {
    let mut bench = Bench::new();
    let age = Duration::from_secs(100_000);
    let retention = Retention { frames: 100, age, ..bench.app.settings.retention };
    let settings = Settings { max_log_bytes: 100_000, retention, ..(*bench.app.settings).clone() };
    bench.app = App::new(Arc::new(settings), spec(&bench.key), bench.now);
    let mut kept = Kept::of(bench);
    let text = "x".repeat(900);
    for round in 0..20 {
        for _ in 0..25 {
            kept.rest("a", &text);
        }
        kept.advance(Duration::from_secs(61));
        let stored = kept.kept_of("a");
        assert!(stored <= 100 + 25, "{round}: {stored}");
        assert!(stored >= kept.history("a").len());
    }
}
