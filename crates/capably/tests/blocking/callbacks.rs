//! Callbacks that call their client back.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, mpsc},
};

use capably::{Realtime, blocking::Wait, realtime::ConnectionState};

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
