//! Connections that open and close as they should.

use capably::{Realtime, realtime::ConnectionState};

use crate::{
    app::{App, in_both_formats},
    support::expect_states,
};

const OPENED: [ConnectionState; 2] = [ConnectionState::Connecting, ConnectionState::Connected];
const CLOSED: [ConnectionState; 2] = [ConnectionState::Closing, ConnectionState::Closed];

/// A client that is not connected.
fn client(app: &App) -> Realtime {
    Realtime::new(app.options().key(app.key(0)).auto_connect(false)).unwrap()
}

fn consists_of(text: &str, others: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

// UTS: realtime/integration/RTN4b/successful-connection-0
// Spec: RTN4b
in_both_formats! {
    async fn a_connection_opens(app) {
        let client = client(&app);
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        let mut changes = client.connection().changes();
        client.connection().connect();
        expect_states(&mut changes, &OPENED).await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        let (id, key) = (client.connection().id().unwrap(), client.connection().key().unwrap());
        assert!(consists_of(&id, "_-"), "{id}");
        assert!(consists_of(&key, "_!-"));
        assert!(client.connection().error_reason().is_none());
        assert_eq!(app.server.connections(), 1);
        client.close().await;
    }
}

// UTS: realtime/integration/RTN4c/graceful-close-0
// Spec: RTN4c, RTN12a
in_both_formats! {
    async fn a_connection_closes(app) {
        let client = client(&app);
        let mut changes = client.connection().changes();
        client.connection().connect();
        expect_states(&mut changes, &OPENED).await;
        client.connection().close().await;
        expect_states(&mut changes, &CLOSED).await;
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        assert!(client.connection().error_reason().is_none());
        assert_eq!((client.connection().id(), client.connection().key()), (None, None));
    }
}

// UTS: realtime/integration/RTN11/connect-reconnect-cycle-0
// Spec: RTN11d
in_both_formats! {
    async fn a_closed_client_opens_a_new_connection(app) {
        let client = client(&app);
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        let mut changes = client.connection().changes();
        client.connection().connect();
        expect_states(&mut changes, &OPENED).await;
        let first = client.connection().id().unwrap();
        client.connection().close().await;
        expect_states(&mut changes, &CLOSED).await;
        client.connection().connect();
        expect_states(&mut changes, &OPENED).await;
        let second = client.connection().id().unwrap();
        assert_ne!(first, second);
        assert!(client.connection().error_reason().is_none());
        assert_eq!(client.connection().metrics().resumed, 0);
        client.close().await;
    }
}
