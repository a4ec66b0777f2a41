//! Callbacks that call their client back.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, mpsc},
};

use capably::{
    Realtime,
    blocking::Wait,
    realtime::{CallbackHandle, ChannelState, ConnectionState},
};

use crate::{PATIENCE, TestServer, in_both_formats, received};

in_both_formats!(
    fn a_callback_publishes_and_waits_for_the_acknowledgement(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let replies = client.channels().get("replies");
        let (sender, sent) = mpsc::channel();
        let _answering = client
            .channels()
            .get("questions")
            .subscribe()
            .wait()
            .unwrap()
            .each(move |message| {
                let published = replies.publish("reply", message.data).wait().unwrap();
                sender.send(published.serials.len()).unwrap();
            })
            .unwrap();
        for question in ["who", "why"] {
            client.channels().get("questions").publish("q", question).wait().unwrap();
            assert_eq!(received(&sent), 1);
        }
        let page = client.channels().get("replies").history().wait().unwrap();
        let texts: Vec<_> = page.items().iter().map(|reply| reply.data.as_str().unwrap()).collect();
        assert_eq!(texts, ["why", "who"]);
    }
);

in_both_formats!(
    fn a_callback_closes_its_client(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let channel = client.channels().get("closing");
        let own = client.clone();
        let callback = channel.subscribe().wait().unwrap();
        let callback = callback.each(move |_| own.close().wait().unwrap()).unwrap();
        channel.publish("n", "close").submit().wait().unwrap().wait().unwrap();
        let reason = callback.ended().wait_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(reason.code().0, 80017);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
    }
);

in_both_formats!(
    fn a_callback_drops_the_last_handles_of_its_client(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let channel = client.channels().get("dropping");
        let messages = channel.subscribe().wait().unwrap();
        let mut changes = client.connection().changes();
        let receipt = channel.publish("n", "drop").submit().wait().unwrap();
        drop(channel);
        let mut own = Some(client);
        let callback = messages
            .each(move |_| {
                drop(own.take());
                ControlFlow::Break(())
            })
            .unwrap();
        callback.ended().wait_timeout(PATIENCE).unwrap();
        receipt.wait().unwrap();
        let closed = changes.blocking_iter().unwrap().last().unwrap();
        assert_eq!(closed.current, ConnectionState::Closed);
    }
);

in_both_formats!(
    fn a_callback_subscribes_again(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let channel = client.channels().get("again");
        let own = channel.clone();
        let (sender, texts) = mpsc::channel();
        let inner = Arc::new(Mutex::new(Vec::new()));
        let handles = Arc::clone(&inner);
        let _outer = channel
            .subscribe()
            .name("start")
            .wait()
            .unwrap()
            .each(move |_| {
                let sender = sender.clone();
                let more = own.subscribe().name("more").wait().unwrap();
                let more = more.each(move |message| sender.send(message.data).unwrap()).unwrap();
                handles.lock().unwrap().push(more);
                own.publish("more", "of it").wait().unwrap();
            })
            .unwrap();
        channel.publish("start", "").wait().unwrap();
        assert_eq!(received(&texts).as_str(), Some("of it"));
        assert_eq!(inner.lock().unwrap().len(), 1);
    }
);

in_both_formats!(
    fn a_callback_detaches_and_releases_its_channel(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let channel = client.channels().get("detaching");
        let own = client.clone();
        let (sender, results) = mpsc::channel();
        let callback = channel.subscribe().wait().unwrap();
        let callback = callback
            .each(move |message| {
                let channel = own.channels().get("detaching");
                channel.detach().wait().unwrap();
                own.channels().release("detaching");
                sender.send((message.data, channel.state())).unwrap();
            })
            .unwrap();
        channel.publish("n", "detach").submit().wait().unwrap().wait().unwrap();
        let (data, state) = received(&results);
        assert_eq!((data.as_str(), state), (Some("detach"), ChannelState::Detached));
        assert!(callback.ended().wait_timeout(PATIENCE).unwrap().is_some(), "it was released");
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
);

in_both_formats!(
    fn a_callback_drops_its_own_handle_and_is_not_called_again(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let channel = client.channels().get("own-handle");
        let (handles, own_handle) = mpsc::channel::<CallbackHandle>();
        let (sender, texts) = mpsc::channel();
        let callback = channel.subscribe().wait().unwrap();
        let callback = callback
            .each(move |message| {
                drop(received(&own_handle));
                sender.send(message.data).unwrap();
            })
            .unwrap();
        handles.send(callback).unwrap();
        for text in ["first", "second"] {
            channel.publish("n", text).wait().unwrap();
        }
        assert_eq!(received(&texts).as_str(), Some("first"));
        assert!(texts.recv().is_err(), "the callback was dropped");
    }
);

in_both_formats!(
    fn a_callback_that_waits_for_its_own_end_gets_an_error(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let channel = client.channels().get("own-end");
        let (handles, own_handle) = mpsc::channel::<CallbackHandle>();
        let (sender, reasons) = mpsc::channel();
        let callback = channel.subscribe().wait().unwrap();
        let callback = callback
            .each(move |_| {
                let handle = received(&own_handle);
                sender.send(handle.ended().wait().unwrap()).unwrap();
                handle.forget();
            })
            .unwrap();
        handles.send(callback).unwrap();
        channel.publish("n", "wait").wait().unwrap();
        let reason = received(&reasons).expect("it has not ended");
        assert_eq!(reason.code().0, 40000);
        assert!(reason.remediation().unwrap().contains("ControlFlow::Break"));
    }
);

in_both_formats!(
    fn callbacks_that_panic_or_fail_leave_the_others_alone(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let channel = client.channels().get("panics");
        let (sender, calls) = mpsc::channel();
        let mut handles = Vec::new();
        for number in 0..3 {
            let sender = sender.clone();
            let callback = channel.subscribe().wait().unwrap();
            let panicking = callback.each(move |message| {
                sender.send((number, message.data)).unwrap();
                // Without the noise of the panic hook.
                std::panic::resume_unwind(Box::new("each time"))
            });
            handles.push(panicking.unwrap());
        }
        let failing = sender.clone();
        let callback = channel.subscribe().wait().unwrap();
        let callback = callback.each(move |message| -> Result<(), &str> {
            failing.send((3, message.data)).unwrap();
            Err("each time")
        });
        handles.push(callback.unwrap());
        let callback = channel.subscribe().wait().unwrap();
        handles.push(callback.each(move |message| sender.send((4, message.data))).unwrap());

        for text in ["a", "b", "c"] {
            channel.publish("n", text).wait().unwrap();
        }
        let mut texts = [const { String::new() }; 5];
        for _ in 0..15 {
            let (number, data) = received(&calls);
            texts[number] += data.as_str().unwrap();
        }
        assert_eq!(texts, ["abc"; 5]);
        drop(handles);
        assert!(calls.recv().is_err(), "all callbacks have ended");
    }
);
