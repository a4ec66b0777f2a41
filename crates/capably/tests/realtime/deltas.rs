//! Payloads that are deltas to the message before (RTL18 to RTL21, PC3).

use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably::{
    Channel, Data, Message, Plugin, Realtime, Subscription,
    plugin::{DeltaError, VcdiffDecoder},
};
use capably_protocol::{Format, ServerFrame, frame::Delivery};
use serde_json::json;

use crate::{in_both_formats, support::*};

mod bad_input;
mod decoding;
mod recovering;

/// A delta of the mock format: base and value, in base64.
fn mock(base: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    let [base, value] = [base.as_ref(), value.as_ref()].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
    format!("{base}/{value}").into_bytes()
}

/// Applies deltas of the mock format, only to the right base, and records its calls.
#[derive(Clone, Debug, Default)]
struct Mock {
    /// The number of first calls that fail.
    failures: usize,
    /// Delta and base of each call.
    calls: Arc<Mutex<Vec<[Vec<u8>; 2]>>>,
}

impl Mock {
    fn failing(failures: usize) -> Self {
        Self { failures, ..Self::default() }
    }

    fn calls(&self) -> Vec<[Vec<u8>; 2]> {
        self.calls.lock().unwrap().clone()
    }
}

impl VcdiffDecoder for Mock {
    fn decode(&self, delta: &[u8], base: &[u8]) -> Result<Vec<u8>, DeltaError> {
        let mut calls = self.calls.lock().unwrap();
        calls.push([delta, base].map(<[u8]>::to_vec));
        if calls.len() <= self.failures {
            return Err("simulated decode failure".into());
        }
        let (own, value) = str::from_utf8(delta)?.split_once('/').ok_or("no delta")?;
        if URL_SAFE_NO_PAD.decode(own)? != base {
            return Err("base mismatch".into());
        }
        Ok(URL_SAFE_NO_PAD.decode(value)?)
    }
}

/// A message in full.
fn full(id: &str, data: impl Into<Data>) -> Message {
    Message { id: Some(id.into()), data: data.into(), ..Message::default() }
}

/// A message as a delta: in JSON frames, base64 is added to its encoding.
fn delta(id: &str, from: &str, encoding: &str, delta: Vec<u8>) -> Message {
    let extras = json!({ "delta": { "from": from, "format": "vcdiff" } });
    Message {
        encoding: Some(encoding.into()),
        extras: extras.as_object().cloned(),
        ..full(id, delta)
    }
}

/// A frame with these messages.
fn frame(id: &str, serial: Option<&str>, items: impl Into<Vec<Message>>) -> ServerFrame {
    let mut delivery = Delivery::new("ch", items.into());
    delivery.id = Some(id.into());
    delivery.channel_serial = serial.map(Into::into);
    ServerFrame::Message(delivery)
}

/// A client with this decoder, its peer, and an attached channel with a subscription.
async fn subscribed_with(
    format: Format,
    decoder: impl VcdiffDecoder + 'static,
) -> (Realtime, Service, Peer, Channel, Subscription) {
    let (client, service, peer, channel) =
        with_channel_and(format, |options| options.plugin(Plugin::vcdiff(decoder))).await;
    let messages = subscribed(&channel).await;
    (client, service, peer, channel, messages)
}

/// The payloads of the next messages.
async fn next<const N: usize>(messages: &mut Subscription) -> [Data; N] {
    let mut next = [const { Data::None }; N];
    for place in &mut next {
        *place = messages.next().await.unwrap().data;
    }
    next
}
