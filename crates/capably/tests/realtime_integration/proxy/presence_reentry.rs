//! Members that enter again on their own (RTP17).

use capably::{Channel, Data, realtime::ChannelState};
use capably_protocol::{
    ClientFrame, PresenceAction, PresenceMessage,
    frame::{Action, Attached},
};
use capably_server::faults::{Event, Rule};

use super::*;

/// An ATTACHED without RESUMED.
fn not_resumed(channel: &str) -> ServerFrame {
    let error = error(91001, 500, "Continuity lost");
    ServerFrame::Attached(Box::new(Attached {
        channel: channel.into(),
        error: Some(error),
        ..Attached::default()
    }))
}

/// The presence frames of the client, by connection.
fn entered(log: &Log) -> Vec<(u64, PresenceMessage)> {
    log.entries()
        .filter_map(|entry| match &entry.event {
            Event::ToServer { frame: ClientFrame::Presence(publish), .. } => {
                Some((entry.number, publish.items[0].clone()))
            }
            _ => None,
        })
        .collect()
}

/// A client called `client-a`, and its channel, which it has entered.
async fn entered_as_a(scene: &Scene, name: &str) -> (Realtime, Channel) {
    let client = scene.connected(|options| options.client_id("client-a")).await;
    let channel = client.channels().get(name);
    within(channel.attach()).await.unwrap();
    within(channel.presence().enter().data("hello").into_future()).await.unwrap();
    (client, channel)
}

fn is_as_entered(member: &PresenceMessage) {
    assert_eq!(member.client_id.as_deref(), Some("client-a"));
    assert_eq!(member.data, Data::from("hello"));
    assert_eq!(member.action, Some(PresenceAction::Enter));
}

// UTS: realtime/proxy/RTP17i/reenter-on-non-resumed-0
// Spec: RTP17g, RTP17i
in_both_formats! {
    async fn a_member_enters_again_when_continuity_is_lost(scene) {
        let name = "test-rtp17i";
        let (client, channel) = entered_as_a(&scene, name).await;
        assert_eq!(entered(&scene.log()).len(), 1);
        scene.faults.connections().inject_to_client(not_resumed(name));
        let log = within(scene.faults.wait_until(|log| entered(log).len() > 1)).await;
        is_as_entered(&entered(&log)[1].1);
        assert_eq!(channel.state(), ChannelState::Attached);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        client.close().await;
    }
}

// UTS: realtime/proxy/RTP17i/reenter-after-disconnect-1
// Spec: RTP17g, RTP17i
in_both_formats! {
    async fn a_member_enters_again_after_a_disconnect(scene) {
        let name = "test-rtp17i-real";
        let second = Rule::to_client().action(Action::Attached).channel(name).nth(2).times(1);
        scene.faults.add(second.replace(not_resumed(name)));
        let (client, channel) = entered_as_a(&scene, name).await;
        let mut changes = client.connection().changes();
        scene.faults.connections().close(1000);
        let states = [
            ConnectionState::Disconnected,
            ConnectionState::Connecting,
            ConnectionState::Connected,
        ];
        expect_states(&mut changes, &states).await;
        let log = within(scene.faults.wait_until(|log| entered(log).len() > 1)).await;
        let (connection, member) = &entered(&log)[1];
        assert_eq!(*connection, 2);
        is_as_entered(member);
        assert_eq!(channel.state(), ChannelState::Attached);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        client.close().await;
    }
}
