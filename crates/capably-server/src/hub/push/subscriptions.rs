//! Subscriptions of devices and clients to the push notifications of channels.

use std::{collections::BTreeSet, ops::Bound};

use capably_protocol::{ErrorInfo, JsonObject, PushChannelSubscription, Str};
use serde_json::Value;

use super::{
    Changed, Push, PushCaller, PushChange, PushFilter,
    caller::CheckedCaller,
    change::MAX_KEY,
    delivery::{Delivery, Payload},
    device::Device,
    registry::to,
};
use crate::hub::{Now, Page, PageQuery, channel_name, error};

impl Push {
    /// Reads a subscription, and checks that the caller may add it.
    ///
    /// # Errors
    /// Code 40010 for the channel's name; 40160, 40005 for the caller; 40000 for a body without a device or client.
    pub(crate) fn read_subscription(
        &self,
        caller: &CheckedCaller<'_>,
        body: &JsonObject,
    ) -> Result<PushChannelSubscription, ErrorInfo> {
        let subscription = read(body)?;
        let channel = subscription.channel();
        if channel_name::plain(channel)? != channel {
            return Err(error::bad_channel_name("devices subscribe to it without a qualifier"));
        }
        caller.require_subscription(&subscription, self.device_of(&subscription))?;
        Ok(subscription)
    }

    /// Adds a subscription.
    ///
    /// # Errors
    /// Code 40400 for an unknown device, 40000 for names that are too long.
    pub(crate) fn subscribe(
        &self,
        subscription: PushChannelSubscription,
    ) -> Result<Changed<PushChannelSubscription>, ErrorInfo> {
        if subscription.device_id().is_some() && self.device_of(&subscription).is_none() {
            return Err(error::unknown_device());
        }
        if key(&subscription).len() > MAX_KEY {
            let text = format!("a channel and the id on it are longer than {MAX_KEY} bytes");
            return Err(error::bad_request(text));
        }
        Ok((subscription.clone(), vec![PushChange::subscription(subscription)]))
    }

    /// A page of the subscriptions that the caller may see, by channel (RSH1c1).
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn subscriptions(
        &self,
        caller: &CheckedCaller<'_>,
        filter: &PushFilter,
        page: &PageQuery,
    ) -> Result<Page<PushChannelSubscription>, ErrorInfo> {
        caller.caller.require_any()?;
        let found = self.matching(caller, filter);
        Ok(page.page(found.map(|(key, subscription)| (key.clone(), subscription.clone()))))
    }

    /// Removes the matching subscriptions that the caller may change (RSH1c4, RSH1c5).
    ///
    /// # Errors
    /// Code 40160 for the capability, 40003 for a filter that matches everything.
    pub(crate) fn unsubscribe(
        &self,
        caller: &CheckedCaller<'_>,
        filter: &PushFilter,
    ) -> Result<Changed<()>, ErrorInfo> {
        caller.caller.require_any()?;
        filter.require_some()?;
        let removed = self.matching(caller, filter);
        Ok(((), removed.map(|(key, _)| PushChange::Subscription(key.clone(), None)).collect()))
    }

    /// The matching subscriptions that the caller may see and change.
    fn matching(
        &self,
        caller: &CheckedCaller<'_>,
        filter: &PushFilter,
    ) -> impl DoubleEndedIterator<Item = (&Str, &PushChannelSubscription)> {
        self.subscriptions.iter().filter(move |(_, subscription)| {
            let device = self.device_of(subscription);
            filter.matches(subscription)
                && caller.require_subscription(subscription, device).is_ok()
        })
    }

    fn device_of(&self, subscription: &PushChannelSubscription) -> Option<&Device> {
        self.device(subscription.device_id()?)
    }

    /// A page of the names of channels that have subscriptions (RSH1c2).
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn channels(
        &self,
        caller: &PushCaller,
        page: &PageQuery,
    ) -> Result<Page<Str>, ErrorInfo> {
        caller.require_admin()?;
        let names: BTreeSet<Str> =
            self.subscriptions.values().map(|it| it.channel().into()).collect();
        let names = names.into_iter().filter(|name| caller.may_administer(name));
        Ok(page.page(names.map(|name| (name.clone(), name))))
    }

    /// The deliveries of a payload to the subscribers of a channel. A device receives it once, also if its client
    /// has subscribed too.
    pub(crate) fn channel_deliveries(
        &self,
        channel: &str,
        payload: &Payload,
        now: Now,
    ) -> Vec<Delivery> {
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

/// The key of a subscription: the channel, then the device or client. Names of channels have no line break, so that the
/// order of keys is the order of channels.
pub(super) fn key(subscription: &PushChannelSubscription) -> Str {
    let (kind, id) = match subscription.device_id() {
        Some(id) => ("device", id),
        None => ("client", subscription.client_id().unwrap_or_default()),
    };
    format!("{}\n{kind}\n{id}", subscription.channel()).into()
}

/// Reads a subscription.
///
/// # Errors
/// Code 40000 for a body that does not name a channel and one of a device and a client.
fn read(body: &JsonObject) -> Result<PushChannelSubscription, ErrorInfo> {
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
