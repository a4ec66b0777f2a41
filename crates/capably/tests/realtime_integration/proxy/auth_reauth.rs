//! The service asks for a new token (RTN22).

use capably::realtime::ConnectionEvent;
use capably_protocol::frame::Action;

use super::*;

// UTS: realtime/proxy/RTN22/server-initiated-reauth-0
// Spec: RTN22, RTC8a
in_both_formats! {
    async fn a_client_authenticates_again_on_request(scene) {
        let (options, asked) = scene.options_with_tokens();
        let client = Realtime::new(options).unwrap();
        client.connection().connect();
        within(client.connection().when(ConnectionState::Connected)).await.unwrap();
        let id = client.connection().id();
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let mut changes = client.connection().changes();
        scene.faults.connections().inject_to_client(ServerFrame::Auth);
        // The service accepts the new token, and sends CONNECTED.
        let change = within(changes.next()).await.unwrap();
        assert_eq!(change.event, ConnectionEvent::Update);
        let states = (change.previous, change.current);
        assert_eq!(states, (ConnectionState::Connected, ConnectionState::Connected));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(client.connection().id(), id);
        assert_eq!(scene.log().client_frames(Action::Auth).len(), 1);
        assert_eq!(scene.log().connects().len(), 1);
        // The connection has no other change.
        within(client.close()).await;
        let last = [ConnectionState::Closing, ConnectionState::Closed];
        expect_states(&mut changes, &last).await;
    }
}
