//! Push: which devices there are, what they get, and pushing to them (RSH1).

mod activity;
mod caller;
mod delivery;
mod device;
mod registry;

use capably_protocol::{ErrorInfo, JsonObject, Millis, PushChannelSubscription, Str};
use serde_json::Value;

pub(crate) use self::{
    activity::ActivityStep,
    caller::{DeviceProof, PushCaller},
    delivery::Delivery,
    registry::PushFilter,
};
pub(crate) use self::{delivery::Payload, registry::Push};
use self::{
    delivery::Recipient,
    device::{Device, Registration},
};
use super::{
    App, Now, Output, Page, PageQuery,
    access::{
        capability::{Capability, Operation},
        claims::Claims,
        identity::Client,
        issuing::IssuedToken,
        token::{Token, TokenFacts},
    },
    channel::name as channel_name,
    error,
};

/// How long the token of a device holds, in ms: a year.
const DEVICE_TOKEN_TTL: Millis = 365 * 24 * 3_600_000;

impl App {
    /// Pushes to devices of a client, to a device, or to an address (RSH1a). That nothing is registered
    /// there is no error.
    ///
    /// # Errors
    /// Code 40160 for the capability, 40000 for a recipient or a payload that is none.
    pub(crate) fn push(
        &self,
        caller: &PushCaller,
        mut body: JsonObject,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<(), ErrorInfo> {
        caller.require_admin()?;
        let recipient = Recipient::read(body.remove("recipient"))?;
        let payload = Payload::read(&body)?;
        outputs.extend(self.channels.push.deliveries(&recipient, &payload, now));
        Ok(())
    }

    /// A push to a device has reached its address, or not (PCP4).
    pub(crate) fn pushed(&mut self, device_id: &str, result: Result<(), ErrorInfo>) {
        if let Some(device) = self.channels.push.device_mut(device_id) {
            device.set_outcome(result.err());
        }
    }

    /// Registers a device that presents itself, and gives it a token of its own (RSH3b3b).
    ///
    /// # Errors
    /// Code 40160 for the capability, 40000 for details that are not in order, 40012 for its client id,
    /// 40005 when the device is known and the secret is not its own.
    pub(crate) fn register_device(
        &mut self,
        caller: &PushCaller,
        body: JsonObject,
        now: Now,
    ) -> Result<(Value, IssuedToken), ErrorInfo> {
        let admin = caller.is_admin();
        if !admin && !caller.identity.capability.allows_anywhere(&Operation::PushSubscribe) {
            return Err(error::denied(Operation::PushSubscribe.as_str()));
        }
        let mut registration = Registration::read(body)?;
        if !admin {
            let claimed = registration.details.client_id.take();
            registration.details.client_id = caller.identity.client_id_for(claimed)?;
            let known = self.channels.push.device(&registration.details.id);
            let secret = registration.secret.as_ref();
            let is_known_by =
                |device: &Device| secret.is_some_and(|it| device.has_secret(it.reveal()));
            if known.is_some_and(|known| !is_known_by(known)) {
                return Err(error::bad_device_credentials());
            }
        }
        let key = self.keys.iter().find(|key| key.id == caller.identity.key_id);
        let key = key.cloned().ok_or_else(error::unknown_key)?;
        let client = registration.details.client_id.clone();
        let client = client.map_or(Client::Anonymous, Client::Named);
        let issued = self.issue_times.issue_at(now.wall);
        let facts = TokenFacts {
            client_id: client.name().cloned(),
            revocation_key: None,
            device_id: Some(registration.details.id.clone()),
            client_type: None,
            claims: Claims::default(),
            issued,
            expires: issued + DEVICE_TOKEN_TTL,
        };
        let capability = Capability::new()
            .allow("*", [Operation::PushSubscribe])
            .intersection(&caller.identity.capability);
        let token = self.issue(&Token { key, capability: capability.into(), client, facts });
        Ok((self.channels.push.register(registration, now.wall).to_json(), token))
    }

    /// Registers a device, or changes all that is known of it (RSH1b3).
    ///
    /// # Errors
    /// Codes 40160, 40005 for who asks; 40000 for details that are not in order, 40012 for its client id,
    /// 40003 when they have another id than `id`.
    pub(crate) fn save_device(
        &mut self,
        caller: &PushCaller,
        id: &str,
        mut body: JsonObject,
        now: Now,
    ) -> Result<Value, ErrorInfo> {
        self.require_device(caller, id, now)?;
        let own = body.entry("id").or_insert_with(|| id.into());
        if own != id {
            return Err(error::bad_parameter("the device's `id` is not that of the path"));
        }
        let registration = Registration::read(body)?;
        let client_id = &registration.details.client_id;
        let known = self.channels.push.device(id);
        if !caller.is_admin() && known.is_none_or(|it| it.details.client_id != *client_id) {
            caller.identity.client_id_for(client_id.clone())?;
        }
        Ok(self.channels.push.register(registration, now.wall).to_json())
    }

    /// Changes those of a device's details that `changes` has (RSH3d3b).
    ///
    /// # Errors
    /// As [`save_device`](Self::save_device), and 40400 when there is no such device.
    pub(crate) fn change_device(
        &mut self,
        caller: &PushCaller,
        id: &str,
        changes: JsonObject,
        now: Now,
    ) -> Result<Value, ErrorInfo> {
        let Value::Object(mut body) = self.device(caller, id, now)? else {
            return Err(error::unknown_device());
        };
        body.extend(changes);
        self.save_device(caller, id, body, now)
    }

    /// What is known of a device (RSH1b1), with the secret that it was saved with.
    ///
    /// # Errors
    /// Codes 40160, 40005 for who asks; 40400 when there is no such device.
    pub(crate) fn device(
        &self,
        caller: &PushCaller,
        id: &str,
        now: Now,
    ) -> Result<Value, ErrorInfo> {
        self.require_device(caller, id, now)?;
        let device = self.channels.push.device(id).ok_or_else(error::unknown_device)?;
        Ok(device.to_json_with_secret())
    }

    /// A page of the devices there are, by their ids (RSH1b2).
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn devices(
        &self,
        caller: &PushCaller,
        filter: &PushFilter,
        page: &PageQuery,
    ) -> Result<Page<Value>, ErrorInfo> {
        caller.require_admin()?;
        Ok(page.page(self.channels.push.devices(filter)))
    }

    /// Removes devices, and with each its subscriptions (RSH1b4, RSH1b5).
    ///
    /// # Errors
    /// Codes 40160, 40005 for who asks; 40003 for a filter that matches everything.
    pub(crate) fn remove_devices(
        &mut self,
        caller: &PushCaller,
        filter: &PushFilter,
        now: Now,
    ) -> Result<(), ErrorInfo> {
        match &filter.device_id {
            Some(id) => self.require_device(caller, id, now)?,
            None => caller.require_admin()?,
        }
        filter.require_some()?;
        self.channels.push.remove_devices(filter);
        Ok(())
    }

    /// Has a device, or all devices of a client, get what is pushed to a channel (RSH1c3).
    ///
    /// # Errors
    /// Code 40010 for the channel's name; 40160, 40005 for who asks, 40160 for a channel without push;
    /// 40000 for a body that does not say whom; 40400 for an unknown device.
    pub(crate) fn subscribe_to_push(
        &mut self,
        caller: &PushCaller,
        body: &JsonObject,
        now: Now,
    ) -> Result<PushChannelSubscription, ErrorInfo> {
        let subscription = registry::read_subscription(body)?;
        let channel = subscription.channel();
        if channel_name::plain(channel)? != channel {
            return Err(error::bad_channel_name("devices subscribe to it without a qualifier"));
        }
        self.require_subscription(caller, &subscription, now)?;
        if !self.channels.is_push_enabled(channel) {
            return Err(error::push_disabled());
        }
        let unknown = |id| self.channels.push.device(id).is_none();
        if subscription.device_id().is_some_and(unknown) {
            return Err(error::unknown_device());
        }
        self.channels.push.subscribe(subscription.clone());
        Ok(subscription)
    }

    /// A page of the subscriptions that the caller may see, by channel (RSH1c1).
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn push_subscriptions(
        &self,
        caller: &PushCaller,
        filter: &PushFilter,
        page: &PageQuery,
        now: Now,
    ) -> Result<Page<PushChannelSubscription>, ErrorInfo> {
        caller.require_any()?;
        let found = self.channels.push.subscriptions().filter(|(_, subscription)| {
            filter.matches(subscription)
                && self.require_subscription(caller, subscription, now).is_ok()
        });
        Ok(page.page(found.map(|(key, subscription)| (key.clone(), subscription.clone()))))
    }

    /// Removes the subscriptions that match and that the caller may change (RSH1c4, RSH1c5).
    ///
    /// # Errors
    /// Code 40160 for the capability, 40003 for a filter that matches everything.
    pub(crate) fn unsubscribe_from_push(
        &mut self,
        caller: &PushCaller,
        filter: &PushFilter,
        now: Now,
    ) -> Result<(), ErrorInfo> {
        caller.require_any()?;
        filter.require_some()?;
        let found = self.channels.push.subscriptions().filter(|(_, subscription)| {
            filter.matches(subscription)
                && self.require_subscription(caller, subscription, now).is_ok()
        });
        let keys: Vec<Str> = found.map(|(key, _)| key.clone()).collect();
        self.channels.push.unsubscribe(&keys);
        Ok(())
    }

    /// A page of the names of channels that have subscriptions (RSH1c2).
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn push_channels(
        &self,
        caller: &PushCaller,
        page: &PageQuery,
    ) -> Result<Page<Str>, ErrorInfo> {
        caller.require_admin()?;
        let may_see = |name: &Str| caller.may_administer(name);
        let names = self.channels.push.channels().into_iter().filter(may_see);
        Ok(page.page(names.map(|name| (name.clone(), name))))
    }
}

impl PushFilter {
    fn require_some(&self) -> Result<(), ErrorInfo> {
        if self.is_empty() {
            return Err(error::bad_parameter("without a filter this would remove everything"));
        }
        Ok(())
    }
}
