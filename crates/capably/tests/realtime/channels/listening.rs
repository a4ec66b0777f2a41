//! Listening to a channel's changes, and waiting for one (RTL2, RTL25).

use capably::realtime::{ChannelEvent, ChannelState};
use capably_protocol::Flags;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: realtime/unit/RTL2/filtered-event-subscription-0
    // UTS: realtime/unit/RTL2b/channel-state-attribute-0
    async fn a_listener_may_select_one_event(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let state: ChannelState = channel.state();
        assert_eq!(state, ChannelState::Initialized);
        let mut attached_events = channel.changes().only([ChannelState::Attached]);
        attach(&channel, &mut peer).await;
        let events = seen(&mut attached_events);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].current, ChannelState::Attached);
        assert_eq!(events[0].event, ChannelEvent::State(ChannelState::Attached));
    }
}

in_both_formats! {
    // Spec: RTL2, RTL2a, RTL2d, RTL2g, TH1, TH2, TH3, TH5
    async fn each_listener_receives_its_selected_events(format) {
        use ChannelState::{Attached, Attaching, Detached, Detaching, Failed, Initialized};
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut all = channel.changes();
        let mut updates = channel.changes().only([ChannelEvent::Update]);
        let mut ends = channel.changes().only([Detached, Failed]);
        attach(&channel, &mut peer).await;
        peer.send(attached_with("ch", |attached| attached.error = Some(info(90010, 400))));
        quiet(&client, &mut peer).await;
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        attach(&channel, &mut peer).await;
        peer.send(error(Some("ch"), 40160, 401));
        channel.when(Failed).await.unwrap();
        let event = ChannelEvent::State;
        let expected = [
            (Initialized, Attaching, event(Attaching), None),
            (Attaching, Attached, event(Attached), None),
            (Attached, Attached, ChannelEvent::Update, Some(90010)),
            (Attached, Detaching, event(Detaching), None),
            (Detaching, Detached, event(Detached), None),
            (Detached, Attaching, event(Attaching), None),
            (Attaching, Attached, event(Attached), None),
            (Attached, Failed, event(Failed), Some(40160)),
        ];
        let heard: Vec<_> = seen(&mut all)
            .into_iter()
            .map(|change| {
                let reason = change.reason.map(|reason| reason.code.0);
                (change.previous, change.current, change.event, reason)
            })
            .collect();
        assert_eq!(heard, expected);
        let updates: Vec<_> = seen(&mut updates).into_iter().map(|own| own.event).collect();
        assert_eq!(updates, [ChannelEvent::Update]);
        let ends: Vec<_> = seen(&mut ends).into_iter().map(|own| own.current).collect();
        assert_eq!(ends, [Detached, Failed]);
    }
}

in_both_formats! {
    // Spec: RTL2f, TH4, TH6
    async fn a_state_change_has_its_resumed_flag(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut changes = channel.changes().only([ChannelState::Attached]);
        // The flag is never set on the first attach.
        attach(&channel, &mut peer).await;
        let first = changes.next().await.unwrap();
        assert_eq!((first.resumed, first.has_backlog), (false, false));
        // After a resume, the flag is that of ATTACHED.
        let mut peer = resume(&client, &mut service, peer).await;
        peer.expect_attach("ch").await;
        peer.send(attached_with("ch", |attached| {
            attached.flags = Flags::RESUMED | Flags::HAS_BACKLOG;
        }));
        let resumed = changes.next().await.unwrap();
        assert_eq!((resumed.resumed, resumed.has_backlog), (true, true));
        // A new connection resumes no channel.
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        let lost = changes.next().await.unwrap();
        assert_eq!((lost.resumed, lost.has_backlog, lost.reason), (false, false, None));
        expect_none(&mut changes);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL25b/waits-for-state-change-0
    // Spec: RTL25
    async fn waiting_for_a_later_state_returns_its_change(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        assert_eq!(channel.state(), ChannelState::Initialized);
        let waiting = async { channel.when(ChannelState::Attached).await.unwrap() };
        let attaching = async { attach(&channel, &mut peer).await };
        let (change, ()) = tokio::join!(waiting, attaching);
        let change = change.unwrap();
        assert_eq!(change.current, ChannelState::Attached);
        assert_eq!(change.previous, ChannelState::Attaching);
        // In the current state there is no change to return.
        assert_eq!(channel.when(ChannelState::Attached).await.unwrap(), None);
    }
}

in_both_formats! {
    // The second attach shows that the wait ended with the first.
    // UTS: realtime/unit/RTL25b/fires-once-only-1
    async fn each_wait_ends_at_the_next_change(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let waiting = {
            let channel = channel.clone();
            tokio::spawn(async move { channel.when(ChannelState::Attached).await })
        };
        let mut attached_events = channel.changes().only([ChannelState::Attached]);
        tokio::task::yield_now().await;
        attach(&channel, &mut peer).await;
        let change = waiting.await.unwrap().unwrap().unwrap();
        assert_eq!((change.previous, change.current), (ChannelState::Attaching, ChannelState::Attached));
        assert_eq!(seen(&mut attached_events), [change]);
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        attach(&channel, &mut peer).await;
        assert_eq!(seen(&mut attached_events).len(), 1);
        // A wait for a state that cannot follow ends.
        let waiting = {
            let channel = channel.clone();
            tokio::spawn(async move { channel.when(ChannelState::Suspended).await })
        };
        tokio::task::yield_now().await;
        client.channels().release("ch");
        assert_eq!(code(waiting.await.unwrap()), 90001);
    }
}
