//! Messages that the service sends as deltas.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use capably::{
    Channel, Data, ErrorCode, Message, Plugin, Realtime, Subscription,
    plugin::{DeltaError, Vcdiff, VcdiffDecoder},
    realtime::{Changes, ChannelState, ChannelStateChange, RealtimeChannelOptions},
};
use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::{
    app::{App, in_both_formats},
    support::within,
};

/// Payloads that share long runs of bytes.
pub(crate) fn test_data() -> [Value; 5] {
    [(1, "active"), (2, "active"), (2, "inactive"), (3, "inactive"), (3, "active")]
        .map(|(count, status)| json!({ "foo": "bar", "count": count, "status": status }))
}

/// Options of a channel that gets deltas.
pub(crate) fn delta_options() -> RealtimeChannelOptions {
    RealtimeChannelOptions::new().param("delta", "vcdiff")
}

/// Applies deltas, and counts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counting(Arc<AtomicUsize>);

impl Counting {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl VcdiffDecoder for Counting {
    fn decode(&self, delta: &[u8], base: &[u8]) -> Result<Vec<u8>, DeltaError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Vcdiff.decode(delta, base)
    }
}

/// Fails.
#[derive(Debug)]
struct Failing;

impl VcdiffDecoder for Failing {
    fn decode(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, DeltaError> {
        Err("simulated vcdiff decode failure".into())
    }
}

/// A client with this decoder, and an attached channel with a subscription.
async fn subscribed(
    app: &App,
    decoder: impl VcdiffDecoder + 'static,
    name: &str,
    options: RealtimeChannelOptions,
) -> (Realtime, Channel, Subscription) {
    let plugin = Plugin::vcdiff(decoder);
    let client = app.realtime_with(|own| own.key(app.key(0)).plugin(plugin)).await;
    let channel = client.channels().get_with(name, options);
    let messages = channel.subscribe().await.unwrap();
    (client, channel, messages)
}

/// Publishes these payloads, each with its number as its name.
async fn publish<T: Clone + Into<Data>>(channel: &Channel, data: &[T]) {
    for (number, data) in data.iter().enumerate() {
        channel.publish(number.to_string(), data.clone()).await.unwrap();
    }
}

/// The next messages are these payloads, each with its number as its name.
async fn expect<T: Clone + Into<Data>>(messages: &mut Subscription, data: &[T]) {
    for (number, data) in data.iter().enumerate() {
        let message = within(messages.next()).await.unwrap();
        assert_eq!(message.name.as_deref(), Some(&*number.to_string()));
        assert_eq!(message.data, data.clone().into());
    }
}

/// The reasons for which the channel attached again.
pub(crate) fn reattaching(changes: &mut Changes<ChannelStateChange>) -> Vec<Option<ErrorCode>> {
    let changes = std::iter::from_fn(|| changes.next().now_or_never().flatten());
    let attaching = changes.filter(|change| change.current == ChannelState::Attaching);
    attaching.map(|change| change.reason.map(|reason| reason.code)).collect()
}

// UTS: realtime/integration/PC3/delta-decode-end-to-end-0
// Spec: PC3, PC3a, RTL19, RTL19c
in_both_formats! {
    async fn deltas_are_applied(app) {
        let decoder = Counting::default();
        let (client, channel, mut messages) =
            subscribed(&app, decoder.clone(), "delta-PC3", delta_options()).await;
        let mut changes = channel.changes();
        publish(&channel, &test_data()).await;
        expect(&mut messages, &test_data()).await;
        assert_eq!(decoder.count(), test_data().len() - 1);
        assert_eq!(reattaching(&mut changes), []);
        client.close().await;
    }
}

// UTS: realtime/integration/RTL19b/dissimilar-payloads-no-delta-0
// Spec: RTL19b
in_both_formats! {
    async fn unrelated_payloads_are_sent_in_full(app) {
        let decoder = Counting::default();
        let (client, channel, mut messages) =
            subscribed(&app, decoder.clone(), "delta-dissimilar", delta_options()).await;
        let mut changes = channel.changes();
        let mut random = fastrand::Rng::with_seed(19);
        let payloads: [Vec<u8>; 5] = std::array::from_fn(|_| {
            std::iter::repeat_with(|| random.u8(..)).take(1024).collect()
        });
        publish(&channel, &payloads).await;
        expect(&mut messages, &payloads).await;
        // The embedded server sends no delta that is larger than the payload.
        assert_eq!(decoder.count(), 0);
        assert_eq!(reattaching(&mut changes), []);
        client.close().await;
    }
}

// UTS: realtime/integration/PC3/no-deltas-without-param-1
// Spec: PC3
in_both_formats! {
    async fn without_the_parameter_there_are_no_deltas(app) {
        let decoder = Counting::default();
        let options = RealtimeChannelOptions::new();
        let (client, channel, mut messages) =
            subscribed(&app, decoder.clone(), "delta-no-param", options).await;
        publish(&channel, &test_data()).await;
        expect(&mut messages, &test_data()).await;
        assert_eq!(decoder.count(), 0);
        client.close().await;
    }
}

// UTS: realtime/integration/RTL18/recovery-decode-failure-1
// Spec: RTL18, RTL18c
in_both_formats! {
    async fn a_delta_that_cannot_be_applied_is_replaced_by_the_full_message(app) {
        let (client, channel, mut messages) =
            subscribed(&app, Failing, "delta-recovery-decode", delta_options()).await;
        let mut changes = channel.changes();
        // The channel may be attaching while it publishes.
        publish(&channel, &test_data()).await;
        let mut received = BTreeMap::new();
        while received.len() < test_data().len() {
            let message = within(messages.next()).await.unwrap();
            let (name, data) = (message.name.unwrap(), message.data);
            assert!(received.insert(name, data).is_none(), "each comes once");
        }
        let expected = test_data().map(Data::Json);
        assert!(received.into_values().eq(expected));
        let reasons = reattaching(&mut changes);
        assert!(!reasons.is_empty());
        assert!(reasons.iter().all(|reason| *reason == Some(ErrorCode(40018))), "{reasons:?}");
        client.close().await;
    }
}

// UTS: realtime/integration/PC3/no-plugin-causes-failed-2
// Spec: PC3
in_both_formats! {
    async fn without_a_decoder_the_channel_fails(app) {
        let (subscriber, publisher) = tokio::join!(app.realtime(), app.realtime());
        let name = "delta-no-plugin";
        let subscribed = subscriber.channels().get_with(name, delta_options());
        subscribed.attach().await.unwrap();
        let channel = publisher.channels().get(name);
        channel.attach().await.unwrap();
        publish(&channel, &test_data()).await;
        within(subscribed.when(ChannelState::Failed)).await.unwrap();
        assert_eq!(subscribed.error_reason().unwrap().code(), ErrorCode(40019));
        tokio::join!(publisher.close(), subscriber.close());
    }
}

// Spec: RTL19a, RTL19b, RTL19c, RSL6a
in_both_formats! {
    async fn every_type_of_payload_survives_deltas(app) {
        let decoder = Counting::default();
        let (client, channel, mut messages) =
            subscribed(&app, decoder.clone(), "delta-mixed", delta_options()).await;
        let text = "a text that is long enough for a delta to be smaller";
        let payloads: [Data; 7] = [
            text.into(),
            format!("{text}, and longer").into(),
            json!({ "text": text, "tags": ["ü", 1] }).into(),
            json!([text]).into(),
            text.as_bytes().into(),
            [text.as_bytes(), b"\xff\x00"].concat().into(),
            text.into(),
        ];
        // The last ones in one frame, and over REST.
        let (alone, together) = payloads.split_at(4);
        publish(&channel, alone).await;
        let together = (alone.len()..).zip(together);
        let together = together.map(|(number, data)| Message::new(number.to_string(), data.clone()));
        let rest = app.rest().channels().get("delta-mixed");
        rest.publish_messages(together.collect::<Vec<_>>()).await.unwrap();
        expect(&mut messages, &payloads).await;
        assert_eq!(decoder.count(), payloads.len() - 1);
        client.close().await;
    }
}
