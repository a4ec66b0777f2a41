//! Subscribing without the mode (RTL7i, TO3r).

use capably::realtime::{Channel, ChannelState};
use capably_protocol::ChannelMode;
use tracing::Level;

use crate::{http::log::Log, in_both_formats, support::*};

/// Has the service grant these modes to a channel that is attached or attaching.
fn grant(peer: &mut Peer, modes: &[ChannelMode]) {
    let flags = modes.iter().copied().collect();
    peer.send(attached_with("ch", |attached| attached.flags = flags));
}

/// Subscribes to a channel that is not attached, with these modes granted.
async fn subscribe(
    channel: &Channel,
    peer: &mut Peer,
    modes: &[ChannelMode],
) -> Result<capably::Subscription, capably::Error> {
    let service = async {
        peer.expect_attach("ch").await;
        grant(peer, modes);
    };
    tokio::join!(async { channel.subscribe().await }, service).0
}

fn refusal(result: Result<capably::Subscription, capably::Error>) -> (u32, Option<u16>) {
    let error = result.unwrap_err();
    (error.code().0, error.status())
}

in_both_formats! {
    // Spec: RTL7i, RTL7i1, TO3r1
    async fn strict_mode_fails_a_subscription_without_the_mode(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.strict_mode(true)).await;
        let channel = client.channels().get("ch");
        let others = [ChannelMode::Publish, ChannelMode::PresenceSubscribe];
        assert_eq!(refusal(subscribe(&channel, &mut peer, &others).await), (90009, Some(400)));
        assert_eq!(channel.state(), ChannelState::Attached);
        assert_eq!(refusal(channel.subscribe().await), (90009, Some(400)));
        assert_eq!(refusal(channel.subscribe().attach(false).await), (90009, Some(400)));
        // The modes that the service granted last decide.
        grant(&mut peer, &[ChannelMode::Subscribe]);
        quiet(&client, &mut peer).await;
        let mut subscription = channel.subscribe().await.unwrap();
        peer.send(messages("ch", &["at last"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("at last"));
    }
}

in_both_formats! {
    // Spec: RTL7i3
    async fn modes_are_not_checked_before_the_channel_is_attached(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.strict_mode(true)).await;
        let channel = client.channels().get("ch");
        let mut subscription = channel.subscribe().attach(false).await.unwrap();
        assert_eq!(refusal(subscribe(&channel, &mut peer, &[]).await), (90009, Some(400)));
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        let _another = channel.subscribe().attach(false).await.unwrap();
        // Earlier subscriptions stay.
        let _third = subscribe(&channel, &mut peer, &[ChannelMode::Subscribe]).await.unwrap();
        peer.send(messages("ch", &["at last"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("at last"));
    }
}

in_both_formats! {
    // Spec: RTL7i2, RTP11f2, TO3r2
    async fn without_strict_mode_a_warning_is_logged_once_per_attachment(format) {
        let log = Log::new(Level::ERROR);
        let _guard = tracing::subscriber::set_default(log.clone());
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut first = subscribe(&channel, &mut peer, &[]).await.unwrap();
        let _second = channel.subscribe().await.unwrap();
        let _third = channel.subscribe().attach(false).await.unwrap();
        let said = log.said();
        let [said] = &said[..] else { panic!("{said:?}") };
        let message = "the channel is attached without the mode subscribe, so the service delivers no \
            messages; with strict_mode the operation would fail with this error";
        assert_eq!((said.level, &*said.message), (Some(Level::ERROR), message));
        assert_eq!((&*said.context["channel"], &*said.context["code"]), ("\"ch\"", "90009"));
        for _ in 0..2 {
            assert_eq!(channel.presence().get().await.unwrap(), []);
        }
        assert_eq!(log.said().len(), 2);
        let message = "the channel is attached without the mode presence_subscribe, so its members are \
            not known; with strict_mode the operation would fail with this error";
        assert_eq!(log.said()[1].message, message);
        // The next attachment is checked again.
        grant(&mut peer, &[ChannelMode::Presence]);
        quiet(&client, &mut peer).await;
        let _fourth = channel.subscribe().await.unwrap();
        assert_eq!(log.said().len(), 3);
        grant(&mut peer, &[ChannelMode::Subscribe]);
        peer.send(messages("ch", &["at last"]));
        assert_eq!(first.next().await.unwrap().name.as_deref(), Some("at last"));
        let _fifth = channel.subscribe().await.unwrap();
        assert_eq!(log.said().len(), 3);
    }
}
