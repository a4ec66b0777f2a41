//! The devices of an app: registering them, and pushing to them.

use std::collections::{BTreeMap, BTreeSet};

use capably_protocol::{ErrorInfo, JsonObject, PushChannelSubscription, Str};
use serde_json::Value;

use super::{
    Changed, PushCaller, PushChange, PushFilter,
    activity::Broadcasts,
    caller::CheckedCaller,
    delivery::{Delivery, Payload, Recipient},
    device::{Device, Registration},
};
use crate::hub::{
    IssuedToken, Now,
    access::{Access, capability::Operation, identity::Client},
    error,
};

/// The devices and the subscriptions of an app.
#[derive(Debug, Default)]
pub(crate) struct Push {
    pub(super) devices: BTreeMap<Str, Device>,
    /// By channel, then by device or client.
    pub(super) subscriptions: BTreeMap<Str, PushChannelSubscription>,
    pub(super) broadcasts: Broadcasts,
}

impl Push {
    /// The deliveries of a push to a device, to the devices of a client, or to an address (RSH1a). A recipient that is not registered is no
    /// error.
    ///
    /// # Errors
    /// Code 40160 for the capability, 40000 for an invalid recipient or payload.
    pub(crate) fn push(
        &self,
        caller: &PushCaller,
        mut body: JsonObject,
        now: Now,
    ) -> Result<Vec<Delivery>, ErrorInfo> {
        caller.require_admin()?;
        let recipient = Recipient::read(body.remove("recipient"))?;
        let payload = Payload::read(&body)?;
        Ok(self.deliveries(&recipient, &payload, now))
    }

    /// Records the result of a delivery to a device (PCP4).
    pub(crate) fn delivered(&mut self, device_id: &str, result: Result<(), ErrorInfo>) {
        if let Some(device) = self.devices.get_mut(device_id) {
            device.set_outcome(result.err());
        }
    }

    /// Registers a device that presents itself, and issues a token to it (RSH3b3b).
    ///
    /// # Errors
    /// Code 40160 for the capability, 40000 for invalid details, 40012 for the client id, 40005 when the device is known
    /// with another secret.
    pub(crate) fn register_device(
        &self,
        caller: &PushCaller,
        body: JsonObject,
        access: &mut Access,
        now: Now,
    ) -> Result<Changed<(Value, IssuedToken)>, ErrorInfo> {
        let admin = caller.is_admin();
        if !admin && !caller.identity.capability.allows_anywhere(&Operation::PushSubscribe) {
            return Err(error::denied(Operation::PushSubscribe.as_str()));
        }
        let mut registration = Registration::read(body)?;
        if !admin {
            let claimed = registration.details.client_id.take();
            registration.details.client_id = caller.identity.client_id_for(claimed)?;
            let known = self.device(&registration.details.id);
            let secret = registration.secret.as_ref();
            let is_known_by =
                |device: &Device| secret.is_some_and(|it| device.has_secret(it.reveal()));
            if known.is_some_and(|known| !is_known_by(known)) {
                return Err(error::bad_device_credentials());
            }
        }
        let key = access.key(&caller.identity.key_id)?;
        let client = registration.details.client_id.clone();
        let client = client.map_or(Client::Anonymous, Client::Named);
        let id = registration.details.id.clone();
        let token = access.issue_for_device(key, id, client, &caller.identity.capability, now);
        let device = self.registered(registration, now);
        Ok(((device.to_json(), token), vec![PushChange::device(device)]))
    }

    /// Registers a device, or replaces its details (RSH1b3).
    ///
    /// # Errors
    /// Codes 40160, 40005 for the caller; 40000 for invalid details, 40012 for the client id, 40003 when the details have
    /// another id than `id`.
    pub(crate) fn save_device(
        &self,
        caller: &CheckedCaller<'_>,
        id: &str,
        mut body: JsonObject,
    ) -> Result<Changed<Value>, ErrorInfo> {
        let known = self.device(id);
        caller.require_device(id, known)?;
        let own = body.entry("id").or_insert_with(|| id.into());
        if own != id {
            return Err(error::bad_parameter("the device's `id` is not that of the path"));
        }
        let registration = Registration::read(body)?;
        let client_id = &registration.details.client_id;
        let PushCaller { identity, .. } = caller.caller;
        if !caller.caller.is_admin() && known.is_none_or(|it| it.details.client_id != *client_id) {
            identity.client_id_for(client_id.clone())?;
        }
        let device = self.registered(registration, caller.now());
        Ok((device.to_json(), vec![PushChange::device(device)]))
    }

    /// Replaces those details of a device that are in `changes` (RSH3d3b).
    ///
    /// # Errors
    /// As [`save_device`](Self::save_device), and 40400 for an unknown device.
    pub(crate) fn change_device(
        &self,
        caller: &CheckedCaller<'_>,
        id: &str,
        changes: JsonObject,
    ) -> Result<Changed<Value>, ErrorInfo> {
        let Value::Object(mut body) = self.device_details(caller, id)? else {
            return Err(error::unknown_device());
        };
        body.extend(changes);
        self.save_device(caller, id, body)
    }

    /// The details of a device (RSH1b1), with the secret with which it registered.
    ///
    /// # Errors
    /// Codes 40160, 40005 for the caller; 40400 for an unknown device.
    pub(crate) fn device_details(
        &self,
        caller: &CheckedCaller<'_>,
        id: &str,
    ) -> Result<Value, ErrorInfo> {
        let device = self.device(id);
        caller.require_device(id, device)?;
        Ok(device.ok_or_else(error::unknown_device)?.to_json_with_secret())
    }

    /// Removes devices, and their subscriptions (RSH1b4, RSH1b5).
    ///
    /// # Errors
    /// Codes 40160, 40005 for the caller; 40003 for a filter that matches everything.
    pub(crate) fn remove_devices(
        &self,
        caller: &CheckedCaller<'_>,
        filter: &PushFilter,
    ) -> Result<Changed<()>, ErrorInfo> {
        match &filter.device_id {
            Some(id) => caller.require_device(id, self.device(id))?,
            None => caller.caller.require_admin()?,
        }
        filter.require_some()?;
        let removed = self.devices.values().filter(|device| filter.matches_device(device));
        let removed: BTreeSet<&str> = removed.map(|device| &*device.details.id).collect();
        let is_its = |subscription: &PushChannelSubscription| {
            subscription.device_id().is_some_and(|id| removed.contains(id))
        };
        // A device goes last: one whose removal was interrupted can be removed again.
        let subscriptions = self.subscriptions.iter().filter(|(_, it)| is_its(it));
        let changes = subscriptions.map(|(key, _)| PushChange::Subscription(key.clone(), None));
        let devices = removed.iter().map(|id| PushChange::Device((*id).into(), None));
        Ok(((), changes.chain(devices).collect()))
    }

    pub(super) fn device(&self, id: &str) -> Option<&Device> {
        self.devices.get(id)
    }

    /// The devices that match, by their ids.
    pub(crate) fn devices(
        &self,
        filter: &PushFilter,
    ) -> impl DoubleEndedIterator<Item = (Str, Value)> {
        self.devices
            .iter()
            .filter(|(_, device)| filter.matches_device(device))
            .map(|(id, device)| (id.clone(), device.to_json()))
    }

    /// The device after a registration: a new one, or one with new details.
    fn registered(&self, registration: Registration, now: Now) -> Device {
        match self.device(&registration.details.id) {
            None => Device::new(registration, now.wall),
            Some(known) => {
                let mut device = known.clone();
                device.renew(registration);
                device
            }
        }
    }

    /// The deliveries of a payload to a recipient.
    fn deliveries(&self, recipient: &Recipient, payload: &Payload, now: Now) -> Vec<Delivery> {
        match recipient {
            Recipient::Address(address) => {
                Delivery::new(None, address, payload, now).into_iter().collect()
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
}

/// The delivery to a device.
pub(super) fn to(device: &Device, payload: &Payload, now: Now) -> Option<Delivery> {
    let details = &device.details;
    Delivery::new(Some(&details.id), &details.push.recipient, payload, now)
}
