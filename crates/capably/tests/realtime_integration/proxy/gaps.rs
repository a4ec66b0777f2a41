//! Channels that the service does not continue (RTN15c7, RTL2f).

use capably::{
    Capability, Channel, TokenParams,
    crypto::{self, CipherKey},
    realtime::{ChannelState, RealtimeChannelOptions, SubscriptionEvent},
};
use capably_protocol::{
    ClientFrame,
    frame::{Action, Attach},
};
use capably_server::faults::Rule;

use super::*;

const CHANNEL: &str = "readings";

/// A service that keeps the state of connections for a fifth of a second only.
async fn forgetful(format: Format) -> Scene {
    let faults = Faults::new();
    let server = Server::builder().connection_state_ttl(Duration::from_millis(200));
    let server = server.faults(&faults).start().await.unwrap();
    Scene { server, faults, format }
}

/// Options for the client whose connection is cut.
fn consumer(options: ClientOptions) -> ClientOptions {
    options
        .client_id("consumer")
        .disconnected_retry_timeout(Duration::from_millis(20))
        .suspended_retry_timeout(Duration::from_millis(20))
}

/// Cuts the consumer off for longer than the service keeps the state of its connection, so that the position of its
/// channel is lost.
async fn cut_off(scene: &Scene, channel: &Channel, client: &Realtime, meanwhile: impl Future) {
    let outage = scene.faults.add(Rule::opening().refuse());
    scene.faults.connections().param("clientId", "consumer").disconnect();
    within(client.connection().when(ConnectionState::Suspended)).await.unwrap();
    meanwhile.await;
    let anew = Attach { channel: CHANNEL.into(), ..Attach::default() };
    let attach = Rule::to_server().action(Action::Attach).channel(CHANNEL).times(1);
    scene.faults.add(attach.replace(ClientFrame::Attach(anew)));
    scene.faults.remove(outage);
    within(channel.when(ChannelState::Attached)).await.unwrap();
}

async fn publish(channel: &Channel, numbers: std::ops::Range<u32>) {
    for number in numbers {
        within(channel.publish("n", number.to_string()).into_future()).await.unwrap();
    }
}

fn number(message: &capably::Message) -> u32 {
    message.data.as_str().unwrap().parse().unwrap()
}

// Spec: RTL10b, RTL15c, RTN15c7
#[tokio::test]
async fn a_consumer_with_a_cut_connection_receives_each_message_once_and_in_order() {
    for format in [Format::Json, Format::MsgPack] {
        let scene = forgetful(format).await;
        let key = CipherKey::from(vec![7; 32]);
        let cipher = crypto::default_params(&crypto::CipherParamOptions::new(key)).unwrap();
        let options = || RealtimeChannelOptions::new().cipher(cipher.clone());
        let publisher = scene.connected(|options| options).await;
        let out = publisher.channels().get_with(CHANNEL, options());
        let client = scene.connected(consumer).await;
        let channel = client.channels().get_with(CHANNEL, options());
        let mut filled = within(channel.subscribe().fill_gaps().into_future()).await.unwrap();
        let mut plain = within(channel.subscribe().into_future()).await.unwrap();

        publish(&out, 0..5).await;
        for round in 0..3 {
            let first = 5 + round * 25;
            cut_off(&scene, &channel, &client, publish(&out, first..first + 20)).await;
            publish(&out, first + 20..first + 25).await;
        }

        let mut marked = Vec::new();
        for expected in 0..80 {
            let message = match within(filled.next_event()).await.unwrap() {
                SubscriptionEvent::Message(message) => message,
                SubscriptionEvent::Filled(message) => {
                    marked.push(expected);
                    message
                }
                other => panic!("unexpected: {other:?}"),
            };
            assert_eq!(number(&message), expected);
        }
        assert_eq!(marked, [5..25, 30..50, 55..75].map(Vec::from_iter).concat());

        // Without filling there is a gap in each of their places.
        let mut told = Vec::new();
        let mut last = None;
        while last != Some(79) {
            match within(plain.next_event()).await.unwrap() {
                SubscriptionEvent::Message(message) => last = Some(number(&message)),
                SubscriptionEvent::Gap(gap) => {
                    assert_eq!(gap.reason.unwrap().code.0, 80018);
                    assert!(gap.after < gap.until);
                    told.push(last.unwrap());
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        assert_eq!(told, [4, 29, 54]);
        client.close().await;
        publisher.close().await;
    }
}

// Spec: RTL10b
#[tokio::test]
async fn without_the_right_to_history_the_gap_stays() {
    for format in [Format::Json, Format::MsgPack] {
        let scene = forgetful(format).await;
        let publisher = scene.connected(|options| options).await;
        let out = publisher.channels().get(CHANNEL);
        let token = Rest::new(scene.options()).unwrap().auth().request_token().params(
            TokenParams::new()
                .client_id("consumer")
                .capability(Capability::new().allow(CHANNEL, ["subscribe"])),
        );
        let token = within(token.into_future()).await.unwrap();
        let options = scene.options_without_key().token(token.token.to_string());
        let client = Realtime::new(consumer(options)).unwrap();
        client.connection().connect();
        let channel = client.channels().get(CHANNEL);
        let mut messages = within(channel.subscribe().fill_gaps().into_future()).await.unwrap();
        publish(&out, 0..1).await;
        cut_off(&scene, &channel, &client, publish(&out, 1..2)).await;
        publish(&out, 2..3).await;
        let mut events = Vec::new();
        for _ in 0..3 {
            events.push(match within(messages.next_event()).await.unwrap() {
                SubscriptionEvent::Message(message) => number(&message),
                SubscriptionEvent::Gap(gap) => gap.unfilled.unwrap().code.0,
                other => panic!("unexpected: {other:?}"),
            });
        }
        assert_eq!(events, [0, 40160, 2]);
        client.close().await;
        publisher.close().await;
    }
}
