//! Channel options, and changing them (TB, RTL16).

use capably::{
    Channel, ChannelMode, Error,
    crypto::{CipherParamOptions, default_params},
    realtime::{ChannelState, RealtimeChannelOptions},
};
use capably_protocol::{Flags, Message, ServerFrame, frame::Delivery};
use tokio::task::JoinHandle;

use crate::{in_both_formats, support::*};

/// 256 bits.
const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// Sets options in a separate task.
fn setting(channel: &Channel, options: RealtimeChannelOptions) -> JoinHandle<Result<(), Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.set_options(options).await })
}

fn rewind(value: u32) -> RealtimeChannelOptions {
    RealtimeChannelOptions::new().param("rewind", value)
}

// UTS: realtime/unit/TB2/channel-options-attributes-0
// UTS: realtime/unit/TB2c/options-with-params-0
// UTS: realtime/unit/TB2d/options-with-modes-0
// UTS: realtime/unit/TB4/attach-on-subscribe-default-0
// Spec: TB1
#[test]
fn options_contain_the_given_values() {
    let options = RealtimeChannelOptions::new();
    assert!(options.cipher.is_none());
    assert!(options.params.is_empty());
    assert!(options.modes.is_empty());
    assert!(options.attach_on_subscribe);
    let options = options.param("rewind", "1").param("delta", "vcdiff");
    assert_eq!((options.params["rewind"].as_str(), options.params.len()), ("1", 2));
    assert_eq!(options.params["delta"], "vcdiff");
    let options = options.modes([ChannelMode::Publish, ChannelMode::Subscribe]);
    assert_eq!(options.modes, [ChannelMode::Publish, ChannelMode::Subscribe]);
    assert!(!options.attach_on_subscribe(false).attach_on_subscribe);
}

// UTS: realtime/unit/TB3/with-cipher-key-0
// Spec: TB2b, TB2b1
#[test]
fn options_can_be_made_from_a_key() {
    let options = RealtimeChannelOptions::with_cipher_key(KEY).unwrap();
    let cipher = options.cipher.unwrap();
    assert_eq!((cipher.algorithm(), cipher.key_length()), ("aes", 256));
    assert_eq!(code(RealtimeChannelOptions::with_cipher_key("short")), 40003);
}

in_both_formats! {
    // UTS: realtime/unit/RTS3b/options-set-on-new-0
    // UTS: realtime/unit/RTL16/set-options-updates-0
    async fn a_channel_has_its_latest_options(format) {
        let (client, _service, mut peer) = connected(format).await;
        let options = rewind(1).modes([ChannelMode::Subscribe]);
        let channel = client.channels().get_with("ch", options);
        assert_eq!(channel.options().params["rewind"], "1");
        assert_eq!(channel.options().modes, [ChannelMode::Subscribe]);
        let options = RealtimeChannelOptions::new().param("delta", "vcdiff").attach_on_subscribe(false);
        channel.set_options(options).await.unwrap();
        assert_eq!(channel.options().params["delta"], "vcdiff");
        assert_eq!(channel.options().params.len(), 1);
        assert!(!channel.options().attach_on_subscribe);
        // Every handle has the new options; `get` with other options does not change them.
        let same = client.channels().get_with("ch", rewind(2));
        assert_eq!(same.options().params["delta"], "vcdiff");
        // The channel was not attached; the next attach requests the options.
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Initialized);
        let _messages = channel.subscribe().await.unwrap();
        let _events = channel.presence().subscribe().await.unwrap();
        quiet(&client, &mut peer).await;
        let attaching = attaching(&channel);
        let attach = peer.attach("ch").await;
        attaching.await.unwrap().unwrap();
        assert_eq!(attach.flags, Flags::NONE);
        assert_eq!((attach.params["delta"].as_str(), attach.params.len()), ("vcdiff", 1));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL16a/triggers-reattach-0
    // UTS: realtime/unit/RTL4c1/includes-channel-serial-0
    async fn new_params_and_modes_are_requested_at_once(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        let first = peer.attach("ch").await;
        attaching.await.unwrap().unwrap();
        assert_eq!(first.channel_serial, None);
        let mut changes = channel.changes();
        let mut subscription = subscribed(&channel).await;
        let set = setting(&channel, rewind(1).modes([ChannelMode::Subscribe]));
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.params["rewind"], "1");
        assert_eq!(attach.flags, ChannelMode::Subscribe.flag());
        assert_eq!(attach.channel_serial.as_deref(), Some("ch-serial"));
        quiet(&client, &mut peer).await;
        assert!(!set.is_finished());
        peer.send(attached_with("ch", |attached| attached.flags = ChannelMode::Subscribe.flag()));
        set.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        assert_eq!(channel.modes(), [ChannelMode::Subscribe]);
        assert_eq!(channel.options().params["rewind"], "1");
        expect_states(&mut changes, &[ChannelState::Attaching, ChannelState::Attached]).await;
        expect_none(&mut changes);
        // Subscriptions continue.
        peer.send(messages("ch", &["still here"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("still here"));
        // Params alone and modes alone cause an attach, too.
        for options in [rewind(2), RealtimeChannelOptions::new().modes([ChannelMode::Publish])] {
            let set = setting(&channel, options.clone());
            let attach = peer.attach("ch").await;
            assert_eq!(attach.params, options.params);
            assert_eq!(attach.flags, options.modes.into_iter().collect());
            set.await.unwrap().unwrap();
        }
    }
}

in_both_formats! {
    // Spec: RTL16, RTL16a, TB2b
    async fn other_options_apply_at_once_without_an_attach(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        let mut messages = subscribed(&channel).await;
        let cipher = default_params(&CipherParamOptions::new(KEY)).unwrap();
        channel.set_options(RealtimeChannelOptions::new().cipher(cipher)).await.unwrap();
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
        // Later publishes are encrypted, and received messages are decrypted.
        let receipt = channel.publish("n", "secret").submit().await.unwrap();
        let sent = peer.publish().await.items[0].clone();
        assert!(sent.encoding.as_deref().unwrap().starts_with("utf-8/cipher+aes-256-cbc"));
        assert_ne!(sent.data.as_str(), Some("secret"));
        peer.send(ack(0, 1));
        receipt.await.unwrap();
        peer.send(ServerFrame::Message(Delivery::new("ch", vec![sent])));
        let received = messages.next().await.unwrap();
        assert_eq!((received.data.as_str(), received.encoding), (Some("secret"), None));
        // Without a cipher again.
        channel.set_options(RealtimeChannelOptions::new()).await.unwrap();
        let _receipt = channel.publish("n", "open").submit().await.unwrap();
        let sent: Message = peer.publish().await.items[0].clone();
        assert_eq!((sent.data.as_str(), sent.encoding), (Some("open"), None));
    }
}

in_both_formats! {
    // Spec: RTL16a
    async fn options_set_while_attaching_are_requested_after_the_answer(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attach = attaching(&channel);
        peer.expect_attach("ch").await;
        let one = setting(&channel, rewind(1));
        quiet(&client, &mut peer).await;
        let two = setting(&channel, rewind(2));
        quiet(&client, &mut peer).await;
        peer.send(attached("ch"));
        attach.await.unwrap().unwrap();
        // One ATTACH with the last of them serves both.
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.params["rewind"], "2");
        assert_eq!(channel.state(), ChannelState::Attaching);
        quiet(&client, &mut peer).await;
        assert!(!one.is_finished() && !two.is_finished());
        peer.send(attached("ch"));
        one.await.unwrap().unwrap();
        two.await.unwrap().unwrap();
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attached);
    }
}

in_both_formats! {
    // Spec: RTL16a
    async fn options_set_without_a_connection_are_requested_once_connected(format) {
        let (client, mut service) = client(format);
        let channel = client.channels().get("ch");
        let attach = attaching(&channel);
        channel.when(ChannelState::Attaching).await.unwrap();
        let set = setting(&channel, rewind(1));
        client.connection().connect();
        let mut peer = service.accept().await;
        assert!(!set.is_finished());
        peer.send(connected_frame("connection-1", "key-1"));
        assert_eq!(peer.attach("ch").await.params["rewind"], "1");
        attach.await.unwrap().unwrap();
        set.await.unwrap().unwrap();
        quiet(&client, &mut peer).await;
        // An attached channel without a connection attaches again once connected.
        drop(peer);
        let attempt = service.attempt().await;
        assert_eq!(channel.state(), ChannelState::Attached);
        let set = setting(&channel, rewind(2));
        channel.when(ChannelState::Attaching).await.unwrap();
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-2"));
        assert_eq!(peer.attach("ch").await.params["rewind"], "2");
        set.await.unwrap().unwrap();
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTL16a
    async fn options_whose_attach_fails_stay_set(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        // The service refuses.
        let set = setting(&channel, rewind(1));
        peer.expect_attach("ch").await;
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(code(set.await.unwrap()), 40160);
        assert_eq!(channel.state(), ChannelState::Failed);
        assert_eq!(channel.options().params["rewind"], "1");
        // New options do not attach a failed channel.
        channel.set_options(rewind(2)).await.unwrap();
        quiet(&client, &mut peer).await;
        let attach = attaching(&channel);
        assert_eq!(peer.attach("ch").await.params["rewind"], "2");
        attach.await.unwrap().unwrap();
        // No answer.
        let set = setting(&channel, rewind(3));
        peer.expect_attach("ch").await;
        advance(10_000).await;
        assert_eq!(code(set.await.unwrap()), 90007);
        assert_eq!(channel.state(), ChannelState::Suspended);
        // The channel is detached before the queued request runs.
        let attach = attaching(&channel);
        peer.expect_attach("ch").await;
        let detach = detaching(&channel);
        quiet(&client, &mut peer).await;
        let set = setting(&channel, rewind(4));
        quiet(&client, &mut peer).await;
        peer.send(attached("ch"));
        attach.await.unwrap().unwrap();
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        assert_eq!(code(set.await.unwrap()), 90001);
        // The channel is released.
        let again = attaching(&channel);
        peer.attach("ch").await;
        again.await.unwrap().unwrap();
        let set = setting(&channel, rewind(5));
        peer.expect_attach("ch").await;
        client.channels().release("ch");
        assert_eq!(code(set.await.unwrap()), 90001);
        assert_eq!(code(channel.set_options(rewind(6)).await), 90001);
    }
}
