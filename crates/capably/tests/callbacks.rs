//! Callbacks of subscriptions, in asynchronous programs and on plain threads, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/embedded.rs"]
mod embedded;

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use capably::{
    Annotation, Capability, ChannelMode, ClientOptions, Message, Overflow, PresenceAction,
    Realtime, Rest, TokenParams,
    realtime::{ChannelState, ConnectionState, RealtimeChannelOptions, objects::LiveCounter},
};
use tokio::sync::mpsc;

use embedded::{client, in_both_formats, options, options_with_mutable_messages, server, within};

/// The next value that a callback sends.
async fn received<T>(values: &mut mpsc::UnboundedReceiver<T>) -> T {
    within(values.recv()).await.expect("the callback is there")
}

fn text(message: &Message) -> String {
    message.data.as_str().unwrap().to_owned()
}

in_both_formats!(
    async fn a_callback_gets_every_message_in_order(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("order");
        let (sender, mut texts) = mpsc::unbounded_channel();
        // A small queue: the callback is behind, and messages without room are fetched again.
        let messages = channel.subscribe().capacity(4).await.unwrap();
        let _callback = messages
            .each(move |message| {
                thread::yield_now();
                sender.send(text(&message)).unwrap();
            })
            .unwrap();
        let mut receipts = Vec::new();
        for n in 0..500 {
            receipts.push(channel.publish("n", n.to_string()).submit().await.unwrap());
        }
        for n in 0..500 {
            assert_eq!(received(&mut texts).await, n.to_string());
        }
        for receipt in receipts {
            within(receipt).await.unwrap();
        }
    }
);

in_both_formats!(
    async fn a_thread_without_a_runtime_registers_a_callback(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("threads");
        let (sender, mut texts) = mpsc::unbounded_channel();
        let own = channel.clone();
        let callback = thread::spawn(move || {
            own.subscribe().name("n").each(move |message| sender.send(text(&message)).unwrap())
        });
        let callback = callback.join().unwrap().unwrap();
        channel.when(ChannelState::Attached).await.unwrap();
        channel.publish("other", "not selected").await.unwrap();
        channel.publish("n", "selected").await.unwrap();
        assert_eq!(received(&mut texts).await, "selected");
        assert!(!callback.has_ended());
    }
);

in_both_formats!(
    async fn a_callback_that_panics_each_time_is_called_for_each_message(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("panics");
        let (sender, mut texts) = mpsc::unbounded_channel();
        let callback = channel.subscribe().await.unwrap();
        let callback = callback
            .each(move |message| -> () {
                sender.send(text(&message)).unwrap();
                // Without the noise of the panic hook.
                std::panic::resume_unwind(Box::new("each time"));
            })
            .unwrap();
        for n in 0..20 {
            channel.publish("n", n.to_string()).await.unwrap();
        }
        for n in 0..20 {
            assert_eq!(received(&mut texts).await, n.to_string());
        }
        client.close().await;
        let reason = within(callback.ended()).await.expect("the client was closed");
        assert_eq!(reason.code().0, 80017);
    }
);

in_both_formats!(
    async fn a_callback_that_blocks_harms_only_its_own_subscription(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("blocked");
        // The test lets the callback go at its very end.
        let release = Arc::new(Barrier::new(2));
        let (sender, mut texts) = mpsc::unbounded_channel();
        let (blocking, sent, own) = (channel.subscribe(), sender.clone(), Arc::clone(&release));
        let blocked = blocking
            .capacity(2)
            .await
            .unwrap()
            .each(move |_| {
                sent.send("blocked".to_owned()).unwrap();
                own.wait();
                ControlFlow::Break(())
            })
            .unwrap();
        channel.publish("n", "first").await.unwrap();
        assert_eq!(received(&mut texts).await, "blocked");

        let messages = channel.subscribe().await.unwrap();
        let _other = messages.each(move |message| sender.send(text(&message)).unwrap()).unwrap();
        for n in 0..100 {
            within(channel.publish("n", n.to_string()).into_future()).await.unwrap();
            assert_eq!(received(&mut texts).await, n.to_string());
        }
        within(client.close()).await;
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        assert!(!blocked.has_ended(), "the call is under way");
        release.wait();
        within(blocked.ended()).await;
    }
);

in_both_formats!(
    /// A thread that is stuck must not keep a client alive that the program has dropped.
    async fn the_client_of_a_blocked_callback_ends_with_its_handles(binary) {
        let server = server().await;
        let watcher = client(&server, binary).await;
        let mut events = watcher.channels().get("room").presence().subscribe().await.unwrap();

        let client = Realtime::connect(options(&server, binary).client_id("ada")).await.unwrap();
        let channel = client.channels().get("room");
        channel.presence().enter().await.unwrap();
        let release = Arc::new(Barrier::new(2));
        let (sender, mut called) = mpsc::unbounded_channel();
        let own = Arc::clone(&release);
        let callback = channel.subscribe().await.unwrap();
        let callback = callback
            .each(move |_| {
                sender.send(()).unwrap();
                own.wait();
            })
            .unwrap();
        channel.publish("n", "block").await.unwrap();
        received(&mut called).await;
        drop((client, channel, callback));
        let left = loop {
            let event = within(events.next()).await.unwrap();
            if event.action == Some(PresenceAction::Leave) {
                break event;
            }
        };
        assert_eq!(left.client_id.as_deref(), Some("ada"));
        release.wait();
        assert_eq!(within(called.recv()).await, None, "the callback was dropped");
    }
);

in_both_formats!(
    async fn a_stopped_callback_is_not_called_again(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("stopping");
        let (stopped, dropped, broken) = (Counter::new(), Counter::new(), Counter::new());
        let callback = channel.subscribe().await.unwrap().each(stopped.counting()).unwrap();
        let handle = channel.subscribe().await.unwrap().each(dropped.counting()).unwrap();
        let mut count = broken.counting();
        let breaking = channel.subscribe().await.unwrap();
        let breaking = breaking
            .each(move |message| {
                count(message);
                ControlFlow::Break(())
            })
            .unwrap();
        channel.publish("n", "one").await.unwrap();
        assert_eq!(within(breaking.ended()).await.map(|reason| reason.code().0), None);
        stopped.reaches(1).await;
        dropped.reaches(1).await;
        callback.stop();
        drop(handle);

        let last = Counter::new();
        let _last = channel.subscribe().await.unwrap().each(last.counting()).unwrap();
        channel.publish("n", "two").await.unwrap();
        last.reaches(1).await;
        client.close().await;
        assert_eq!([stopped.count(), dropped.count(), broken.count()], [1, 1, 1]);
    }
);

in_both_formats!(
    async fn a_forgotten_callback_runs_until_the_client_is_closed(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("forgotten");
        let (sender, mut texts) = mpsc::unbounded_channel();
        let messages = channel.subscribe().await.unwrap();
        messages.each(move |message| sender.send(text(&message)).unwrap()).unwrap().forget();
        channel.publish("n", "heard").await.unwrap();
        assert_eq!(received(&mut texts).await, "heard");
        client.close().await;
        assert_eq!(within(texts.recv()).await, None, "the callback was dropped");
    }
);

in_both_formats!(
    async fn a_callback_outlasts_a_failed_attach(binary) {
        let server = server().await;
        let issuer = Rest::new(options(&server, binary)).unwrap();
        let params = TokenParams::new().capability(Capability::new().allow("allowed", ["*"]));
        let token = issuer.auth().request_token().params(params).await.unwrap().token;
        let options = ClientOptions::default().token(token.to_string());
        let options = options.endpoint(server.endpoint()).port(server.port()).tls(false);
        let client = Realtime::connect(options.use_binary_protocol(binary)).await.unwrap();
        let channel = client.channels().get("forbidden");
        let error = channel.subscribe().await.unwrap_err();
        assert_eq!(error.code().0, 40160);
        let callback = channel.subscribe().each(|_| {}).unwrap();
        channel.when(ChannelState::Failed).await.unwrap();
        let error = channel.subscribe().await.unwrap_err();
        assert_eq!(error.code().0, 90001);
        assert!(!callback.has_ended());
        client.close().await;
    }
);

in_both_formats!(
    async fn every_kind_of_subscription_has_callbacks(binary) {
        let server = server().await;
        let options = options_with_mutable_messages(&server, binary).await;
        let options = options.auto_connect(false).client_id("ada");
        let client = Realtime::new(options).unwrap();
        let (sender, mut heard) = mpsc::unbounded_channel();
        let tell = |what: &'static str| {
            let sender = sender.clone();
            move || sender.send(what).unwrap()
        };

        let connected = tell("connected");
        let changes = client.connection().changes().only([ConnectionState::Connected]);
        let _states = changes.each(move |_| connected()).unwrap();
        client.connection().connect();
        assert_eq!(received(&mut heard).await, "connected");

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
        let channel = RealtimeChannelOptions::new().modes(modes);
        let channel = client.channels().get_with("mutable:all", channel);
        let attached = tell("attached");
        let changes = channel.changes().only([ChannelState::Attached]);
        let _changes = changes.each(move |_| attached()).unwrap();
        let mut messages = channel.subscribe().await.unwrap();
        assert_eq!(received(&mut heard).await, "attached");

        let present = tell("present");
        let _presence = channel.presence().subscribe().each(move |_| present()).unwrap();
        channel.presence().enter().await.unwrap();
        assert_eq!(received(&mut heard).await, "present");

        let annotated = tell("annotated");
        let _annotations = channel.annotations().subscribe().each(move |_| annotated()).unwrap();
        channel.publish("n", "note").await.unwrap();
        let note = messages.next().await.unwrap();
        let annotation_type = Some("reaction:distinct.v1".into());
        let name = Some("like".into());
        let like = Annotation { annotation_type, name, ..Annotation::default() };
        channel.annotations().publish(&note, like).await.unwrap();
        assert_eq!(received(&mut heard).await, "annotated");

        let root = channel.objects().get().await.unwrap();
        root.set("votes", LiveCounter::default()).await.unwrap();
        let (path, object) = (tell("path"), tell("object"));
        let paths = root.at("votes").subscribe().each(move |_| path()).unwrap();
        root.at("votes").increment(1).await.unwrap();
        assert_eq!(received(&mut heard).await, "path");
        paths.stop();
        let votes = root.get("votes").instance().unwrap().unwrap();
        let _objects = votes.subscribe().each(move |_| object()).unwrap();
        root.at("votes").increment(1).await.unwrap();
        assert_eq!(received(&mut heard).await, "object");
        client.close().await;
    }
);

in_both_formats!(
    async fn a_callback_starts_tasks_on_the_runtime_of_its_client(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let (questions, answers) = (client.channels().get("q"), client.channels().get("a"));
        let mut answered = answers.subscribe().await.unwrap();
        let _answering = questions
            .subscribe()
            .await
            .unwrap()
            .each(move |message| {
                let answers = answers.clone();
                tokio::spawn(async move { answers.publish("answer", message.data).await });
            })
            .unwrap();
        questions.publish("question", "why").await.unwrap();
        assert_eq!(text(&within(answered.next()).await.unwrap()), "why");
    }
);

in_both_formats!(
    async fn a_callback_with_a_full_queue_ends_as_its_subscription_chose(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("full");
        let release = Arc::new(Barrier::new(2));
        let own = Arc::clone(&release);
        let messages = channel.subscribe().capacity(1).overflow(Overflow::End).await.unwrap();
        let callback = messages
            .each(move |message| {
                if text(&message) == "0" {
                    own.wait();
                }
            })
            .unwrap();
        for n in 0..10 {
            channel.publish("n", n.to_string()).await.unwrap();
        }
        release.wait();
        let reason = within(callback.ended()).await.expect("the queue was full");
        assert_eq!(reason.code(), capably::ErrorCode::CHANNEL_BACKLOG_TOO_LARGE);
    }
);

/// Counts the calls of a callback.
#[derive(Clone)]
struct Counter {
    calls: Arc<AtomicUsize>,
    changed: Arc<tokio::sync::Notify>,
}

impl Counter {
    fn new() -> Self {
        Self { calls: Arc::default(), changed: Arc::default() }
    }

    fn counting(&self) -> impl FnMut(Message) + Send + 'static {
        let Self { calls, changed } = self.clone();
        move |_| {
            calls.fetch_add(1, Ordering::SeqCst);
            changed.notify_one();
        }
    }

    fn count(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn reaches(&self, count: usize) {
        while self.count() < count {
            within(self.changed.notified()).await;
        }
    }
}
