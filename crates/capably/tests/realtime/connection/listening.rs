//! Listening to changes: streams take the place of an event emitter (RTE).

use capably::realtime::{ConnectionEvent, ConnectionState};

use crate::{in_both_formats, support::*, tokens::*};

// Spec: RTE1, RTE3, RTE5, RTN4, RTN4a, RTN4e, TA1, TA5
in_both_formats! {
    async fn each_listener_receives_every_change_until_it_is_dropped(format) {
        let (client, mut service) = client(format);
        let mut all = client.connection().changes();
        let mut same = client.connection().changes();
        let dropped = client.connection().changes();
        client.connection().connect();
        let attempt = service.attempt().await;
        drop(dropped);
        let mut late = client.connection().changes();
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let heard = seen(&mut all);
        assert_eq!(states(&heard), [ConnectionState::Connecting, ConnectionState::Connected]);
        assert_eq!(seen(&mut same), heard);
        // A listener receives no earlier change.
        assert_eq!(states(&seen(&mut late)), [ConnectionState::Connected]);
        for change in heard {
            assert_eq!(change.event, ConnectionEvent::State(change.current));
        }
    }
}

// Spec: RTE4
in_both_formats! {
    async fn one_event_can_be_waited_for(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let accept = async {
            let mut peer = service.accept().await;
            peer.send(connected_frame("connection-1", "key-1"));
            peer
        };
        let (change, _peer) =
            tokio::join!(client.connection().when(ConnectionState::Connected), accept);
        assert_eq!(change.unwrap().unwrap().current, ConnectionState::Connected);
    }
}

// Spec: RTE6, RTE6a
in_both_formats! {
    async fn a_panicking_or_slow_listener_affects_no_other(format) {
        let (client, mut service) = client(format);
        let mut panicking = client.connection().changes();
        let listener = tokio::spawn(async move {
            let change = panicking.next().await.unwrap();
            panic!("a fault of the user's, at {}", change.current);
        });
        let _never_read = client.connection().changes();
        let mut good = client.connection().changes();
        client.connection().connect();
        let mut peer = service.accept().await;
        listener.await.unwrap_err();
        // A listener created inside a listener does not receive the current event.
        assert_eq!(good.next().await.unwrap().current, ConnectionState::Connecting);
        let mut inner = client.connection().changes();
        expect_none(&mut inner);
        peer.send(connected_frame("connection-1", "key-1"));
        assert_eq!(good.next().await.unwrap().current, ConnectionState::Connected);
        assert_eq!(inner.next().await.unwrap().current, ConnectionState::Connected);
        quiet(&client, &mut peer).await;
    }
}
