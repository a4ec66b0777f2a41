//! A connection without a runtime.

use std::{sync::mpsc, thread, time::Duration};

use capably::{
    Annotation, ChannelMode, Message, PresenceAction, Realtime,
    blocking::Wait,
    realtime::{
        ChannelState, ConnectionState, RealtimeChannelOptions,
        objects::{LiveCounter, SyncState},
    },
};
use tokio::runtime::Builder;

use crate::{PATIENCE, TestServer, in_both_formats, received, until};

in_both_formats!(
    /// Every call of a connection has a blocking form; this test makes each of them.
    fn every_call_waits(binary) {
        let server = TestServer::start();
        let options = server.options_with_mutable_messages(binary);
        let client = Realtime::connect(options.client_id("ada")).wait().unwrap();
        let connection = client.connection();
        let mut states = connection.changes();
        connection.ping().wait().unwrap();
        assert!(connection.when(ConnectionState::Connected).wait().unwrap().is_none());
        assert!(connection.create_recovery_key().wait().unwrap().is_some());
        assert!(client.time().wait().unwrap() > 0);
        client.auth().authorize().wait().unwrap();

        let modes = [
            ChannelMode::Publish,
            ChannelMode::Subscribe,
            ChannelMode::Presence,
            ChannelMode::PresenceSubscribe,
            ChannelMode::AnnotationPublish,
            ChannelMode::AnnotationSubscribe,
            ChannelMode::ObjectPublish,
            ChannelMode::ObjectSubscribe,
        ];
        let options = RealtimeChannelOptions::new().modes(modes);
        let channel = client.channels().get_with("mutable:waiting", options.clone());
        let mut changes = channel.changes();
        channel.attach().wait().unwrap();
        assert!(channel.when(ChannelState::Attached).wait().unwrap().is_none());
        assert!(channel.properties().wait().unwrap().attach_serial.is_some());
        channel.set_options(options).wait().unwrap();
        let seen = changes.blocking_iter().unwrap().take(2).map(|change| change.current);
        assert_eq!(seen.collect::<Vec<_>>(), [ChannelState::Attaching, ChannelState::Attached]);

        let mut messages = channel.subscribe().wait().unwrap();
        messages.attached().wait().unwrap();
        let published = channel.publish("n", "one").wait().unwrap();
        assert_eq!(published.serials.len(), 1);
        let receipt = channel.publish("n", "two").submit().wait().unwrap();
        receipt.wait().unwrap();
        let one = messages.next().wait().unwrap().unwrap();
        assert_eq!(one.data.as_str(), Some("one"));
        assert!(messages.next_event().wait().unwrap().is_some());
        assert_eq!(channel.history().wait().unwrap().items().len(), 2);

        let mut annotations = channel.annotations().subscribe().wait().unwrap();
        let like = Annotation {
            annotation_type: Some("reaction:distinct.v1".into()),
            name: Some("like".into()),
            ..Annotation::default()
        };
        channel.annotations().publish(&one, like).wait().unwrap();
        let annotation = annotations.blocking_iter().unwrap().next().unwrap();
        assert_eq!(annotation.message_serial, one.serial);
        let change = channel.update_message(Message { data: "1".into(), ..one }).wait().unwrap();
        assert!(change.version_serial.is_some());

        let mut events = channel.presence().subscribe().wait().unwrap();
        channel.presence().enter().data("here").wait().unwrap();
        let entered = events.blocking_iter().unwrap().next().unwrap();
        assert_eq!(entered.action, Some(PresenceAction::Enter));
        assert_eq!(channel.presence().get().wait().unwrap().len(), 1);
        channel.presence().leave().wait().unwrap();

        let mut syncs = channel.objects().sync_changes();
        let root = channel.objects().get().wait().unwrap();
        root.set("votes", LiveCounter::default()).wait().unwrap();
        let mut all = root.subscribe().wait().unwrap();
        let votes = root.get("votes").instance().unwrap().unwrap();
        let mut own = votes.subscribe().wait().unwrap();
        root.at("votes").increment(2).wait().unwrap();
        let change = all.blocking_iter().unwrap().next().unwrap();
        assert_eq!(change.object.path().to_string(), "votes");
        assert!(own.blocking_iter().unwrap().next().is_some());
        channel.detach().wait().unwrap();
        channel.attach().wait().unwrap();
        let synced = syncs.blocking_iter().unwrap().any(|state| state == SyncState::Synced);
        assert!(synced);

        client.close().wait().unwrap();
        let closed = states.blocking_iter().unwrap();
        let closed = closed.map(|change| change.current).find(|own| *own == ConnectionState::Closed);
        assert_eq!(closed, Some(ConnectionState::Closed));
    }
);

in_both_formats!(
    fn eight_threads_publish_and_iterate_on_one_client(binary) {
        const THREADS: usize = 8;
        const EACH: usize = 50;
        let server = TestServer::start();
        let client = Realtime::new(server.options(binary)).unwrap();
        let ready = std::sync::Barrier::new(THREADS);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let channel = client.channels().get("shared");
                let ready = &ready;
                scope.spawn(move || {
                    let mut messages = channel.subscribe().wait().unwrap();
                    ready.wait();
                    let receipts: Vec<_> = (0..EACH)
                        .map(|at| channel.publish(format!("{number}"), at.to_string()))
                        .map(|publish| publish.submit().wait().unwrap())
                        .collect();
                    let mut next = [0; THREADS];
                    let mut received = messages.blocking_iter().unwrap();
                    for _ in 0..THREADS * EACH {
                        let message = received.next_timeout(PATIENCE).unwrap().unwrap();
                        let publisher: usize = message.name.unwrap().parse().unwrap();
                        assert_eq!(message.data.as_str(), Some(&*next[publisher].to_string()));
                        next[publisher] += 1;
                    }
                    assert_eq!(next, [EACH; THREADS]);
                    for receipt in receipts {
                        receipt.wait().unwrap();
                    }
                });
            }
        });
        client.close().wait().unwrap();
    }
);

in_both_formats!(
    fn an_iterator_continues_after_a_wait_with_a_limit(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let channel = client.channels().get("limits");
        let mut messages = channel.subscribe().wait().unwrap();
        let error = messages
            .blocking_iter()
            .unwrap()
            .next_timeout(Duration::from_millis(1))
            .unwrap_err();
        assert_eq!(error.code().0, 50003);
        let error = messages.next().wait_timeout(Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.code().0, 50003);
        channel.publish("n", "kept").wait_timeout(PATIENCE).unwrap();
        let message = messages.next().wait_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(message.data.as_str(), Some("kept"));
    }
);

in_both_formats!(
    fn closing_the_client_ends_the_iterators_of_other_threads(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let channel = client.channels().get("ending");
        let mut messages = channel.subscribe().wait().unwrap();
        let (sender, results) = mpsc::channel();
        let reader = thread::spawn(move || {
            for message in messages.blocking_iter().unwrap() {
                sender.send(message.data.as_str().map(str::to_owned)).unwrap();
            }
            messages.end_reason().map(|reason| reason.code().0)
        });
        channel.publish("n", "last").wait().unwrap();
        assert_eq!(received(&results).as_deref(), Some("last"));
        client.close().wait().unwrap();
        assert_eq!(reader.join().unwrap(), Some(80017));
    }
);

in_both_formats!(
    /// A subscription is a handle: the client lives until the last of them is dropped, and then closes.
    fn a_dropped_client_lives_as_long_as_its_iterators(binary) {
        let server = TestServer::start();
        let watcher = Realtime::connect(server.options(binary)).wait().unwrap();
        let room = watcher.channels().get("room");
        let mut events = room.presence().subscribe().wait().unwrap();

        let client = Realtime::connect(server.options(binary).client_id("ada")).wait().unwrap();
        let channel = client.channels().get("room");
        let mut messages = channel.subscribe().wait().unwrap();
        channel.presence().enter().wait().unwrap();
        drop((client, channel));
        room.publish("n", "still there").wait().unwrap();
        let message = messages.blocking_iter().unwrap().next().unwrap();
        assert_eq!(message.data.as_str(), Some("still there"));
        drop(messages);
        let mut events = events.blocking_iter().unwrap();
        let left = events.find(|event| event.action == Some(PresenceAction::Leave)).unwrap();
        assert_eq!(left.client_id.as_deref(), Some("ada"));
    }
);

in_both_formats!(
    fn the_end_of_a_client_s_own_runtime_ends_its_iterators(binary) {
        let server = TestServer::start();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(Realtime::connect(server.options(binary))).unwrap();
        let channel = client.channels().get("runtimes");
        let mut messages = channel.subscribe().wait().unwrap();
        channel.publish("n", "from a thread").wait().unwrap();
        assert!(messages.next().wait().unwrap().is_some());
        let reader = thread::spawn(move || messages.blocking_iter().unwrap().count());
        runtime.shutdown_background();
        assert_eq!(reader.join().unwrap(), 0);
        assert_eq!(channel.publish("n", "too late").wait().unwrap_err().code().0, 80017);
    }
);

#[test]
fn a_client_is_made_outside_of_a_runtime_without_waiting() {
    let server = TestServer::start();
    let client = Realtime::new(server.options(true)).unwrap();
    client.connection().when(ConnectionState::Connected).wait_timeout(PATIENCE).unwrap();
    client.close().wait().unwrap();
    assert_eq!(client.connection().state(), ConnectionState::Closed);
}

#[test]
fn threads_that_are_all_first_share_the_runtime() {
    let server = TestServer::start();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Realtime::connect(server.options(true)).wait().unwrap().close().wait());
        }
    });
}

#[test]
fn blocking_in_a_task_is_an_error_and_not_a_hang() {
    let server = TestServer::start();
    let client = Realtime::connect(server.options(true)).wait().unwrap();
    let channel = client.channels().get("tasks");
    let mut messages = channel.subscribe().wait().unwrap();
    let mut other = channel.subscribe().wait().unwrap();
    let mut made_outside = other.blocking_iter().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(messages.blocking_iter().unwrap_err().code().0, 40000);
        assert_eq!(made_outside.next_timeout(PATIENCE).unwrap_err().code().0, 40000);
        assert!(made_outside.next().is_none(), "it ends instead of blocking the task");
        assert_eq!(client.close().wait().unwrap_err().code().0, 40000);
        assert_eq!(messages.next().wait_timeout(PATIENCE).unwrap_err().code().0, 40000);
    });
    assert_eq!(client.connection().state(), ConnectionState::Connected);
    channel.publish("n", "afterwards").wait().unwrap();
    assert!(messages.next().wait().unwrap().is_some());
    until(|| messages.next().wait_timeout(Duration::ZERO).is_err());
}
