//! Push notifications: devices, subscriptions and deliveries (RSH1).
//!
//! What changes the registry returns the [`PushChange`]s. They are stored, and then made with [`App::apply_push`].

use capably_protocol::{ErrorInfo, JsonObject, PushChannelSubscription, Str};
use serde_json::Value;

use super::App;
use crate::hub::{
    ActivityStep, Changed, IssuedToken, Now, Output, Page, PageQuery, PushCaller, PushChange,
    PushFilter, error,
};

impl App {
    /// Pushes to a device, to the devices of a client, or to an address (RSH1a).
    ///
    /// # Errors
    /// As [`Push::push`](crate::hub::push::Push::push).
    pub(crate) fn push(
        &self,
        caller: &PushCaller,
        body: JsonObject,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<(), ErrorInfo> {
        let deliveries = self.channels.push.push(caller, body, now)?;
        outputs.extend(deliveries.into_iter().map(Output::from));
        Ok(())
    }

    /// Reports the result of a delivery, to a device or to an address (PCP4).
    pub(crate) fn pushed(
        &mut self,
        device_id: Option<&Str>,
        result: Result<(), ErrorInfo>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        if let Err(problem) = &result {
            self.push_failed(device_id, problem, now, outputs);
        }
        if let Some(device_id) = device_id {
            self.channels.push.delivered(device_id, result);
        }
    }

    /// Makes a change of devices, subscriptions or broadcast channels that is stored.
    pub(crate) fn apply_push(&mut self, change: PushChange) {
        self.channels.push.apply(change);
    }

    /// Registers a device, and issues a token to it (RSH3b3b).
    ///
    /// # Errors
    /// As [`Push::register_device`](crate::hub::push::Push::register_device).
    pub(crate) fn register_device(
        &mut self,
        caller: &PushCaller,
        body: JsonObject,
        now: Now,
    ) -> Result<Changed<(Value, IssuedToken)>, ErrorInfo> {
        self.channels.push.register_device(caller, body, &mut self.access, now)
    }

    /// Registers a device, or replaces its details (RSH1b3).
    ///
    /// # Errors
    /// As [`Push::save_device`](crate::hub::push::Push::save_device).
    pub(crate) fn save_device(
        &self,
        caller: &PushCaller,
        id: &str,
        body: JsonObject,
        now: Now,
    ) -> Result<Changed<Value>, ErrorInfo> {
        self.channels.push.save_device(&caller.at(&self.access, now), id, body)
    }

    /// Changes some details of a device (RSH3d3b).
    ///
    /// # Errors
    /// As [`save_device`](Self::save_device), and 40400 for an unknown device.
    pub(crate) fn change_device(
        &self,
        caller: &PushCaller,
        id: &str,
        changes: JsonObject,
        now: Now,
    ) -> Result<Changed<Value>, ErrorInfo> {
        self.channels.push.change_device(&caller.at(&self.access, now), id, changes)
    }

    /// The details of a device, with its secret (RSH1b1).
    ///
    /// # Errors
    /// Codes 40160, 40005 for the caller; 40400 for an unknown device.
    pub(crate) fn device(
        &self,
        caller: &PushCaller,
        id: &str,
        now: Now,
    ) -> Result<Value, ErrorInfo> {
        self.channels.push.device_details(&caller.at(&self.access, now), id)
    }

    /// A page of the devices, by their ids (RSH1b2).
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

    /// Removes devices and their subscriptions (RSH1b4, RSH1b5).
    ///
    /// # Errors
    /// Codes 40160, 40005 for the caller; 40003 for a filter that matches everything.
    pub(crate) fn remove_devices(
        &self,
        caller: &PushCaller,
        filter: &PushFilter,
        now: Now,
    ) -> Result<Changed<()>, ErrorInfo> {
        self.channels.push.remove_devices(&caller.at(&self.access, now), filter)
    }

    /// Subscribes a device, or all devices of a client, to a channel (RSH1c3).
    ///
    /// # Errors
    /// Code 40010 for the channel's name; 40160, 40005 for the caller, 40160 for a channel without push;
    /// 40000 for a body without a device or client; 40400 for an unknown device.
    pub(crate) fn subscribe_to_push(
        &self,
        caller: &PushCaller,
        body: &JsonObject,
        now: Now,
    ) -> Result<Changed<PushChannelSubscription>, ErrorInfo> {
        let caller = caller.at(&self.access, now);
        let subscription = self.channels.push.read_subscription(&caller, body)?;
        if !self.channels.is_push_enabled(subscription.channel()) {
            return Err(error::push_disabled());
        }
        self.channels.push.subscribe(subscription)
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
        self.channels.push.subscriptions(&caller.at(&self.access, now), filter, page)
    }

    /// Removes the matching subscriptions that the caller may change (RSH1c4, RSH1c5).
    ///
    /// # Errors
    /// Code 40160 for the capability, 40003 for a filter that matches everything.
    pub(crate) fn unsubscribe_from_push(
        &self,
        caller: &PushCaller,
        filter: &PushFilter,
        now: Now,
    ) -> Result<Changed<()>, ErrorInfo> {
        self.channels.push.unsubscribe(&caller.at(&self.access, now), filter)
    }

    /// A page of the names of channels with subscriptions (RSH1c2).
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn push_channels(
        &self,
        caller: &PushCaller,
        page: &PageQuery,
    ) -> Result<Page<Str>, ErrorInfo> {
        self.channels.push.channels(caller, page)
    }

    /// Creates a broadcast channel for live activities with a random id, and returns its ids.
    ///
    /// # Errors
    /// Code 40160 for the capability; 40000 for a storage policy that is neither 0 nor 1, or for too many.
    pub(crate) fn make_broadcast(
        &self,
        caller: &PushCaller,
        body: &JsonObject,
        id: Str,
    ) -> Result<Changed<Value>, ErrorInfo> {
        self.channels.push.check_broadcast(caller, body)?;
        self.channels.push.create_broadcast(id)
    }

    /// Starts, updates or ends a live activity.
    ///
    /// # Errors
    /// As [`Push::live_activity`](crate::hub::push::Push::live_activity).
    pub(crate) fn live_activity(
        &self,
        caller: &PushCaller,
        id: &str,
        step: ActivityStep,
        body: &JsonObject,
    ) -> Result<Changed<()>, ErrorInfo> {
        self.channels.push.live_activity(caller, id, step, body)
    }
}
