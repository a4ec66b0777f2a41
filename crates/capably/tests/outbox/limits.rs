//! The size of an outbox, and who may use it.

use std::future::IntoFuture;

use capably::{
    ClientOptions, Realtime, Rest,
    outbox::{MemoryOutbox, OutboxPolicy, WhenFull},
};
use futures_util::FutureExt;

use crate::scene::{in_both_formats, outbox};

in_both_formats! {
    async fn a_full_outbox_refuses_or_waits_in_order(scene) {
        let policy = OutboxPolicy::new().max_bytes(1000);
        let options = scene.options().auto_connect(false).outbox_policy(policy.clone());
        let client = Realtime::new(options).unwrap();
        let channel = client.channels().get("orders");
        let payload = "x".repeat(400);
        for name in ["a", "b"] {
            channel.publish(name, payload.as_str()).await.unwrap();
        }
        let full = channel.publish("c", payload.as_str()).await.unwrap_err();
        assert_eq!((full.code().0, full.is_retryable()), (50004, true));
        assert_eq!(outbox(&client).metrics().waiting, 2);
        outbox(&client).close().await;

        let options = scene.options().auto_connect(false).outbox_policy(policy.when_full(WhenFull::Wait));
        let client = Realtime::new(options).unwrap();
        let channel = client.channels().get("orders");
        let mut first = channel.publish("c", payload.as_str()).into_future();
        let mut given_up = channel.publish("given up", payload.as_str()).into_future();
        let mut second = channel.publish("d", payload.as_str()).into_future();
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut given_up).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        // Nothing is accepted while there is no room: a later job was done by then.
        assert!(outbox(&client).refused().await.unwrap().is_empty());
        assert!((&mut first).now_or_never().is_none());
        drop(given_up);
        let too_large = channel.publish("e", "x".repeat(2000)).await.unwrap_err();
        assert_eq!(too_large.code().0, 50004, "it would wait for ever");

        client.connection().connect();
        first.await.unwrap();
        second.await.unwrap();
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("orders").await, ["a", "b", "c", "d"]);
    }
}

#[tokio::test]
async fn one_realtime_client_uses_an_outbox() {
    let options = ClientOptions::new("app.key:secret").auto_connect(false);
    let error = Rest::new(options.clone().outbox(MemoryOutbox::new())).unwrap_err();
    assert_eq!(error.code().0, 40000);
    assert!(error.message().contains("REST"), "{error}");

    let with_outbox = options.clone().outbox(MemoryOutbox::new());
    let client = Realtime::new(with_outbox.clone()).unwrap();
    let error = Realtime::new(with_outbox).unwrap_err();
    assert_eq!(error.code().0, 40000);
    assert!(error.message().contains("another client"), "{error}");
    assert!(client.outbox().is_some());

    let policy_alone = options.clone().outbox_policy(OutboxPolicy::new());
    assert_eq!(Realtime::new(policy_alone).unwrap_err().code().0, 40000);
    assert!(Realtime::new(options).unwrap().outbox().is_none());
}
