//! Nothing outlives its handles.

use std::time::Duration;

use capably::{ClientOptions, Realtime, realtime::ConnectionState};
use capably_protocol::{ClientFrame, ServerFrame};
use tokio::{runtime::Handle, time::Instant};

use crate::{in_both_formats, support::*};

/// Waits until no task of a client is left.
async fn no_tasks_left() {
    while Handle::current().metrics().num_alive_tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

in_both_formats! {
    async fn dropping_the_last_handle_closes_the_connection_and_ends_the_task(format) {
        let (client, _service, mut peer) = connected(format).await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
        let channel = client.channels().get("ch");
        drop(client);
        // A channel is a handle too.
        let (attached, _) = tokio::join!(channel.attach(), peer.attach("ch"));
        attached.unwrap();
        drop(channel);
        assert_eq!(peer.receive().await, Some(ClientFrame::Close));
        peer.send(ServerFrame::Closed);
        peer.closed().await;
        no_tasks_left().await;
    }
}

in_both_formats! {
    async fn the_task_ends_without_an_answer_of_the_service(format) {
        let (client, _service, mut peer) = connected(format).await;
        let start = Instant::now();
        drop(client);
        peer.closed().await;
        assert_eq!(start.elapsed().as_secs(), 10);
        no_tasks_left().await;
    }
}

in_both_formats! {
    async fn dropping_while_dialling_a_black_hole_ends_at_once(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let mut dialled = service.attempt().await;
        let start = Instant::now();
        drop(client);
        dialled.abandoned().await;
        no_tasks_left().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

in_both_formats! {
    async fn a_client_that_never_connected_ends_at_once(format) {
        let (client, _service) = client(format);
        drop(client);
        no_tasks_left().await;
    }
}

in_both_formats! {
    async fn submitted_publishes_are_acknowledged_after_the_last_handle_is_dropped(format) {
        let (client, _service, mut peer) = connected(format).await;
        let receipt =
            client.channels().get("ch").publish("last", "words").submit().await.unwrap();
        drop(client);
        assert_eq!(peer.message().await, (0, vec!["last".to_owned()]));
        assert_eq!(peer.receive().await, Some(ClientFrame::Close));
        peer.send(ack(0, 1));
        peer.send(ServerFrame::Closed);
        assert_eq!(receipt.await.unwrap().serials, [Some("serial-0".into())]);
        no_tasks_left().await;
    }
}

in_both_formats! {
    async fn after_the_end_every_wait_ends(format) {
        let (client, _service, peer) = connected(format).await;
        let mut changes = client.connection().changes();
        let receipt = client.channels().get("ch").publish("n", "d").submit().await.unwrap();
        drop((client, peer));
        // The client closes after the drop, and does not reconnect.
        assert_eq!(receipt.await.unwrap_err().code().0, 80017);
        while let Some(change) = changes.next().await {
            assert!(change.current != ConnectionState::Connected);
        }
        no_tasks_left().await;
    }
}

#[test]
fn connecting_outside_a_runtime_is_a_clear_error() {
    let error = Realtime::new(ClientOptions::new("appId.keyId:keySecret")).unwrap_err();
    assert_eq!(error.code().0, 40000);
    assert!(error.to_string().contains("tokio runtime"), "{error}");
    assert!(error.remediation().is_some());
}

#[test]
fn the_end_of_the_runtime_ends_every_wait() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (client, _service, receipt) = runtime.block_on(async {
        let (client, service, peer) = connected(capably_protocol::Format::Json).await;
        let receipt = client.channels().get("ch").publish("n", "d").submit().await.unwrap();
        (client, (service, peer), receipt)
    });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(receipt.await.unwrap_err().code().0, 80017);
        let channel = client.channels().get("ch");
        assert_eq!(channel.attach().await.unwrap_err().code().0, 80017);
        assert_eq!(channel.publish("n", "d").await.unwrap_err().code().0, 80017);
        assert_eq!(client.connection().ping().await.unwrap_err().code().0, 80017);
        client.close().await;
    });
}
