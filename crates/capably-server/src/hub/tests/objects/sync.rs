//! Syncs: requested ones, and the pages that clients share.

use super::*;

fn ask(channel: &str) -> ClientFrame {
    ClientFrame::ObjectSync { channel: channel.into() }
}

/// The pages of syncs: the channel, the number of states, and whether the page is the last.
fn pages(frames: Vec<ServerFrame>) -> Vec<(String, usize, bool)> {
    let pages = frames.into_iter().map(|frame| match frame {
        ServerFrame::ObjectSync(it) => {
            (it.channel.to_string(), it.items.len(), it.channel_serial.unwrap().ends_with(':'))
        }
        other => panic!("{other:?}"),
    });
    pages.collect()
}

fn error_code(frames: &[ServerFrame]) -> (String, u32) {
    match frames {
        [ServerFrame::Error(frame)] => {
            (frame.channel.clone().unwrap().to_string(), frame.error.as_ref().unwrap().code.0)
        }
        other => panic!("expected one ERROR, got {other:?}"),
    }
}

/// A channel with a map of more entries than fit into one step of a sync.
fn large(bench: &mut Bench) -> TransportId {
    let (writer, _) = bench.connect(None);
    let text = "x".repeat(900);
    for msg_serial in 0..600 {
        let item = set_text("root", &format!("k{msg_serial}"), &text);
        bench.send(writer, vec![operations("a", msg_serial, vec![item])]);
    }
    bench.frames(writer);
    writer
}

// Spec: RTO5
#[test]
fn a_client_can_request_a_sync() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.send(transport, vec![ask("a")]);
    assert_eq!(bench.frames(transport), [], "it is not attached");
    for name in ["a", "[?x=y]a"] {
        bench.attach_objects(transport, name, &BOTH[..1]);
    }
    bench.frames(transport);
    let (writer, _) = bench.connect(None);
    let made = set("root", "c", LiveCounter::new(1.0), &mut ids()).unwrap();
    bench.send(writer, vec![operations("a", 0, made)]);
    bench.frames(transport);
    for name in ["a", "[?x=y]a"] {
        for _ in 0..2 {
            bench.send(transport, vec![ask(name)]);
            assert_eq!(pages(bench.frames(transport)), [(name.to_owned(), 2, true)]);
        }
    }
}

#[test]
fn a_request_for_a_sync_needs_the_mode_and_the_right() {
    let mut bench = Bench::new();
    let weak = bench.token_for(json!({"a": ["subscribe", "publish"]}));
    let identity = bench.authenticate(&weak, None).unwrap();
    let (denied, _) = bench.connect_as(identity, None, true);
    let (without, _) = bench.connect(None);
    let (writer, _) = bench.connect(None);
    for (transport, code) in [(denied, 40160), (without, 40165)] {
        bench.attach(transport, "a", None);
        bench.send(transport, vec![ask("a")]);
        assert_eq!(error_code(&bench.frames(transport)), ("a".to_owned(), code));
        // The channel has failed for the client.
        bench.publish(writer, "a", u64::from(code), "x");
        assert_eq!(bench.frames(transport), []);
        assert_eq!(bench.attach(transport, "a", None).error, None);
        bench.publish(writer, "a", u64::from(code) + 1, "x");
        assert_eq!(bench.frames(transport).len(), 1);
    }
}

#[test]
fn many_requests_during_a_sync_are_answered_by_one_more() {
    let mut bench = Bench::new();
    large(&mut bench);
    let (transport, _) = bench.connect(None);
    bench.attach_objects(transport, "a", &BOTH);
    bench.send(transport, vec![ask("a"); 1000]);
    let ends = pages(bench.frames(transport)).into_iter().filter(|(_, _, is_last)| *is_last);
    assert_eq!(ends.count(), 2);
    assert_eq!(bench.app.channels.get("a").unwrap().syncs_made(), 1);
}

// Spec: RTO7, RTO8
#[test]
fn operations_before_the_first_page_of_a_requested_sync_are_in_it() {
    let mut bench = Bench::new();
    let writer = large(&mut bench);
    let (transport, _) = bench.connect(None);
    bench.attach_objects(transport, "a", &BOTH);
    let mut objects = Objects::new("a");
    objects.attached(true, 0, &mut Vec::new());
    bench.frames(transport).into_iter().for_each(|frame| feed(&mut objects, frame));
    bench.send(transport, vec![ask("a")]);
    // The transport has no room for a page yet.
    bench.send(writer, vec![operations("a", 600, vec![set_text("root", "late", "1")])]);
    bench.app.fill(transport, bench.now, &mut bench.outputs);
    bench.send(writer, vec![operations("a", 601, vec![set_text("root", "later", "1")])]);
    bench.frames(transport).into_iter().for_each(|frame| feed(&mut objects, frame));
    assert_eq!(objects.state(), capably_objects::SyncState::Synced);
    assert_eq!(value(objects.pool()), value(bench.replica("a").pool()));
    assert!(objects.pool().root().get("later").is_some());
}

#[test]
fn clients_that_attach_at_the_same_state_share_the_pages() {
    let mut bench = Bench::new();
    let writer = large(&mut bench);
    /// The pages that a client receives which attaches.
    fn attach(bench: &mut Bench, name: &str) -> Vec<Arc<super::super::super::Broadcast>> {
        let (transport, _) = bench.connect(None);
        bench.attach_objects(transport, name, &BOTH);
        let mut pages = Vec::new();
        loop {
            let mut is_behind = false;
            for output in std::mem::take(&mut bench.outputs) {
                match output {
                    Output::Broadcast(to, page) if to == transport => pages.push(page),
                    Output::Behind(to) if to == transport => is_behind = true,
                    _ => {}
                }
            }
            if !is_behind {
                return pages;
            }
            bench.app.fill(transport, bench.now, &mut bench.outputs);
        }
    }
    let made = |bench: &Bench| bench.app.channels.get("a").unwrap().syncs_made();
    let first = attach(&mut bench, "a");
    assert!(first.len() > 5, "{} pages", first.len());
    for _ in 0..3 {
        let again = attach(&mut bench, "a");
        assert_eq!(again.len(), first.len());
        assert!(first.iter().zip(&again).all(|(one, other)| Arc::ptr_eq(one, other)));
    }
    assert_eq!(made(&bench), 1);
    // Messages change no object.
    bench.publish(writer, "a", 600, "x");
    attach(&mut bench, "a");
    assert_eq!(made(&bench), 1);
    bench.send(writer, vec![operations("a", 601, vec![set_text("root", "k", "v")])]);
    attach(&mut bench, "a");
    assert_eq!(made(&bench), 2);
    // The frames under another name differ.
    attach(&mut bench, "[?x=y]a");
    assert_eq!(made(&bench), 3);
    attach(&mut bench, "a");
    assert_eq!(made(&bench), 3);
    // Pages that nobody needs do not stay.
    bench.advance(Duration::from_secs(60));
    attach(&mut bench, "a");
    assert_eq!(made(&bench), 3);
    bench.advance(Duration::from_secs(60));
    bench.advance(Duration::from_secs(60));
    attach(&mut bench, "a");
    assert_eq!(made(&bench), 4);
}
