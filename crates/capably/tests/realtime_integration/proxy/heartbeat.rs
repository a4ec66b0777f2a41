//! Silence on a connection (RTN23).

use capably_server::faults::Rule;

use super::*;

// UTS: realtime/proxy/RTN23a/heartbeat-starvation-reconnect-0
in_both_formats! {
    async fn a_closed_transport_is_replaced(scene) {
        scene.faults.add(Rule::after(Duration::from_secs(1)).times(1).close(1000));
        let client = scene.client(|options| options);
        let mut changes = client.connection().changes();
        client.connection().connect();
        let first = [ConnectionState::Connecting, ConnectionState::Connected];
        expect_states(&mut changes, &first).await;
        let id = client.connection().id();
        assert!(id.is_some());
        let again = [ConnectionState::Disconnected, first[0], first[1]];
        expect_states(&mut changes, &again).await;
        assert_eq!(client.connection().id(), id);
        assert!(client.connection().key().is_some());
        let [None, Some(_)] = &scene.params("resume")[..] else {
            panic!("{:?}", scene.log().connects())
        };
        client.close().await;
    }
}

// Spec: RTN23a
in_both_formats! {
    async fn a_silent_connection_is_replaced(scene) {
        let idle = connected("proxy-idle-id", "proxy-idle-key", 120_000, None);
        let ServerFrame::Connected(mut frame) = idle else { unreachable!("it is a CONNECTED") };
        frame.details.as_mut().unwrap().max_idle_interval = Some(100);
        let connected = Rule::to_client().connection(1);
        scene.faults.add(connected.nth(1).times(1).replace(ServerFrame::Connected(frame)));
        scene.faults.add(Rule::to_client().connection(1).suppress());
        let limit = Duration::from_secs(1);
        let client = scene.client(|options| options.realtime_request_timeout(limit));
        let mut changes = client.connection().changes();
        client.connection().connect();
        let states = [
            ConnectionState::Connecting,
            ConnectionState::Connected,
            ConnectionState::Disconnected,
            ConnectionState::Connecting,
            ConnectionState::Connected,
        ];
        expect_states(&mut changes, &states).await;
        let key = Some("proxy-idle-key".to_owned());
        assert_eq!(scene.params("resume"), [None, key]);
        client.close().await;
    }
}
