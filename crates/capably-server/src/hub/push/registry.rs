//! The devices of an app, and its subscriptions to what is pushed to channels.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ops::Bound,
};

use capably_protocol::{ErrorInfo, JsonObject, Millis, PushChannelSubscription, Str};
use serde_json::Value;

use super::{
    activity::Broadcasts,
    delivery::{Delivery, Payload, Recipient},
    device::{Device, Registration},
};
use crate::hub::{Now, Output, error};

/// Whom an app can push to.
#[derive(Debug, Default)]
pub(crate) struct Push {
    devices: BTreeMap<Str, Device>,
    /// By channel, then by device or client: see [`key`].
    subscriptions: BTreeMap<Str, PushChannelSubscription>,
    pub(super) broadcasts: Broadcasts,
}

/// Which devices or subscriptions are meant: those that match all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PushFilter {
    pub(crate) channel: Option<Str>,
    pub(crate) device_id: Option<Str>,
    pub(crate) client_id: Option<Str>,
    /// Whether either of device and client is enough (RSH7e).
    pub(crate) either: bool,
}

impl PushFilter {
    /// Whether it matches everything.
    pub(super) fn is_empty(&self) -> bool {
        self.channel.is_none() && self.device_id.is_none() && self.client_id.is_none()
    }

    pub(super) fn matches(&self, subscription: &PushChannelSubscription) -> bool {
        let of_device = |id: &Str| subscription.device_id() == Some(id);
        let of_client = |id: &Str| subscription.client_id() == Some(id);
        let target = match (&self.device_id, &self.client_id) {
            (Some(device), Some(client)) if self.either => of_device(device) || of_client(client),
            (device, client) => {
                device.as_ref().is_none_or(of_device) && client.as_ref().is_none_or(of_client)
            }
        };
        target && self.channel.as_ref().is_none_or(|channel| *channel == subscription.channel())
    }

    fn matches_device(&self, device: &Device) -> bool {
        let details = &device.details;
        self.device_id.as_ref().is_none_or(|id| details.id == *id)
            && self.client_id.as_ref().is_none_or(|id| details.client_id.as_ref() == Some(id))
    }
}

impl Push {
    pub(super) fn device(&self, id: &str) -> Option<&Device> {
        self.devices.get(id)
    }

    pub(super) fn device_mut(&mut self, id: &str) -> Option<&mut Device> {
        self.devices.get_mut(id)
    }

    /// Registers a device anew, or takes over what is told of it.
    pub(super) fn register(&mut self, registration: Registration, now: Millis) -> &Device {
        let id = registration.details.id.clone();
        match self.devices.entry(id) {
            Entry::Vacant(entry) => entry.insert(Device::new(registration, now)),
            Entry::Occupied(entry) => {
                let device = entry.into_mut();
                device.renew(registration);
                device
            }
        }
    }

    /// The devices that match, in the order of their ids.
    pub(super) fn devices(
        &self,
        filter: &PushFilter,
    ) -> impl DoubleEndedIterator<Item = (Str, Value)> {
        self.devices
            .iter()
            .filter(|(_, device)| filter.matches_device(device))
            .map(|(id, device)| (id.clone(), device.to_json()))
    }

    /// Removes the devices that match, and their subscriptions.
    pub(super) fn remove_devices(&mut self, filter: &PushFilter) {
        self.devices.retain(|_, device| !filter.matches_device(device));
        let devices = &self.devices;
        self.subscriptions.retain(|_, subscription| {
            subscription.device_id().is_none_or(|id| devices.contains_key(id))
        });
    }

    /// All subscriptions, in the order of their keys.
    pub(super) fn subscriptions(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&Str, &PushChannelSubscription)> {
        self.subscriptions.iter()
    }

    pub(super) fn subscribe(&mut self, subscription: PushChannelSubscription) {
        self.subscriptions.insert(key(&subscription), subscription);
    }

    pub(super) fn unsubscribe(&mut self, keys: &[Str]) {
        for key in keys {
            self.subscriptions.remove(key);
        }
    }

    /// The names of the channels that have subscriptions, each once, in order.
    pub(super) fn channels(&self) -> BTreeSet<Str> {
        self.subscriptions.values().map(|it| it.channel().into()).collect()
    }

    /// What is to be sent so that the payload reaches the recipient.
    pub(super) fn deliveries(
        &self,
        recipient: &Recipient,
        payload: &Payload,
        now: Now,
    ) -> Vec<Output> {
        match recipient {
            Recipient::Address(address) => {
                Delivery::new(None, address, payload, now).map(output).into_iter().collect()
            }
            Recipient::Device(id) => {
                self.devices.get(id).and_then(|it| to(it, payload, now)).into_iter().collect()
            }
            Recipient::Client(id) => {
                let is_its = |device: &&Device| device.details.client_id.as_ref() == Some(id);
                let devices = self.devices.values().filter(is_its);
                devices.filter_map(|device| to(device, payload, now)).collect()
            }
        }
    }

    /// What is to be sent so that the payload reaches all who have subscribed to the channel, each of
    /// their devices once.
    pub(crate) fn channel_deliveries(
        &self,
        channel: &str,
        payload: &Payload,
        now: Now,
    ) -> Vec<Output> {
        let start = format!("{channel}\n");
        let of_channel = self
            .subscriptions
            .range::<str, _>((Bound::Included(&*start), Bound::Unbounded))
            .map(|(_, subscription)| subscription)
            .take_while(|subscription| subscription.channel() == channel);
        let (mut devices, mut clients) = (BTreeSet::new(), BTreeSet::new());
        for subscription in of_channel {
            devices.extend(subscription.device_id());
            clients.extend(subscription.client_id());
        }
        let is_subscribed = |device: &&Device| {
            let client_id = device.details.client_id.as_deref();
            devices.contains(&*device.details.id)
                || client_id.is_some_and(|id| clients.contains(id))
        };
        let devices = self.devices.values().filter(is_subscribed);
        devices.filter_map(|device| to(device, payload, now)).collect()
    }
}

fn to(device: &Device, payload: &Payload, now: Now) -> Option<Output> {
    let details = &device.details;
    Delivery::new(Some(&details.id), &details.push.recipient, payload, now).map(output)
}

fn output(delivery: Delivery) -> Output {
    Output::Push(Box::new(delivery))
}

/// What a subscription is stored under: its channel, then whose it is. No name of a channel has a line
/// break, so keys are in the order of channels.
fn key(subscription: &PushChannelSubscription) -> Str {
    let (kind, id) = match subscription.device_id() {
        Some(id) => ("device", id),
        None => ("client", subscription.client_id().unwrap_or_default()),
    };
    format!("{}\n{kind}\n{id}", subscription.channel()).into()
}

/// # Errors
/// Code 40000 for a body that does not name a channel and one of a device and a client.
pub(super) fn read_subscription(body: &JsonObject) -> Result<PushChannelSubscription, ErrorInfo> {
    let text = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() || name == "channel" => Ok(Some(&**text)),
        Some(_) => Err(error::bad_request(format!("the `{name}` of a subscription is not a text"))),
    };
    let channel =
        text("channel")?.ok_or_else(|| error::bad_request("a subscription needs a `channel`"))?;
    match (text("deviceId")?, text("clientId")?) {
        (Some(device_id), None) => Ok(PushChannelSubscription::for_device(channel, device_id)),
        (None, Some(client_id)) => Ok(PushChannelSubscription::for_client(channel, client_id)),
        _ => Err(error::bad_request("a subscription is of either a `deviceId` or a `clientId`")),
    }
}
