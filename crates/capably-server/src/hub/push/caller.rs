//! Callers of the push API, and their rights to devices and subscriptions.

use capably_protocol::{ErrorInfo, PushChannelSubscription, Str};

use super::device::Device;
use crate::hub::{
    Now,
    access::{
        Access,
        capability::Operation,
        identity::Identity,
        token::{PresentedToken, TokenFacts},
    },
    error,
};

/// The caller of a push request. It may contain a secret, so there is no `Debug`.
pub(crate) struct PushCaller {
    pub(crate) identity: Identity,
    /// The proof that the caller is a certain device (RSH6).
    pub(crate) proof: Option<DeviceProof>,
}

/// A proof that the caller is a certain device.
pub(crate) enum DeviceProof {
    /// The token that was issued to the device when it registered (RSH6a).
    Token(PresentedToken),
    /// The secret with which the device registered (RSH6b).
    Secret(Str),
    /// Text of neither form, which proves nothing.
    Malformed,
}

impl PushCaller {
    /// Whether the caller may administer push, at least on some channels.
    pub(super) fn is_admin(&self) -> bool {
        self.identity.capability.allows_anywhere(&Operation::PushAdmin)
    }

    pub(super) fn may_administer(&self, channel: &str) -> bool {
        self.identity.capability.allows(channel, &Operation::PushAdmin)
    }

    /// # Errors
    /// Code 40160 for a caller that may not administer push.
    pub(crate) fn require_admin(&self) -> Result<(), ErrorInfo> {
        if self.is_admin() { Ok(()) } else { Err(error::denied(Operation::PushAdmin.as_str())) }
    }

    /// # Errors
    /// Code 40160 for a caller that may neither subscribe to push nor administer it.
    pub(super) fn require_any(&self) -> Result<(), ErrorInfo> {
        if self.identity.capability.allows_anywhere(&Operation::PushSubscribe) {
            return Ok(());
        }
        self.require_admin()
    }
}

/// A caller with the keys and the time that are needed to check its token.
pub(crate) struct CheckedCaller<'a> {
    pub(super) caller: &'a PushCaller,
    access: &'a Access,
    now: Now,
}

impl PushCaller {
    /// Prepares the checks of the caller's rights to devices and subscriptions.
    pub(crate) fn at<'a>(&'a self, access: &'a Access, now: Now) -> CheckedCaller<'a> {
        CheckedCaller { caller: self, access, now }
    }
}

impl CheckedCaller<'_> {
    pub(super) fn now(&self) -> Now {
        self.now
    }

    /// Checks that the caller administers push, or is the device.
    ///
    /// # Errors
    /// Code 40160 for a caller without a proof that it is a device, 40005 for one whose proof is wrong.
    pub(super) fn require_device(
        &self,
        device_id: &str,
        device: Option<&Device>,
    ) -> Result<(), ErrorInfo> {
        if self.caller.is_admin() || self.is_device(device_id, device) {
            Ok(())
        } else if self.caller.proof.is_some() {
            Err(error::bad_device_credentials())
        } else {
            Err(error::denied(Operation::PushAdmin.as_str()))
        }
    }

    /// Checks that the caller may read and change a subscription: its own, or any of a channel that it administers.
    ///
    /// # Errors
    /// Code 40160 for the capability, 40012 for a subscription of another client, 40005 for one of another device.
    pub(super) fn require_subscription(
        &self,
        subscription: &PushChannelSubscription,
        device: Option<&Device>,
    ) -> Result<(), ErrorInfo> {
        let channel = subscription.channel();
        if self.caller.may_administer(channel) {
            return Ok(());
        }
        let identity = &self.caller.identity;
        identity.require(channel, Operation::PushSubscribe)?;
        match (subscription.device_id(), subscription.client_id()) {
            (Some(device_id), _) if self.is_device(device_id, device) => Ok(()),
            (Some(_), _) => Err(error::bad_device_credentials()),
            (None, client_id) => identity.client_id_for(client_id.map(Str::from)).map(drop),
        }
    }

    /// Whether the caller has proved that it is the device with this id.
    fn is_device(&self, device_id: &str, device: Option<&Device>) -> bool {
        let Some(device) = device else { return false };
        let is_its_token = |facts: &TokenFacts| {
            // A token outlives its device, and another device may register with the same id later.
            facts.device_id.as_deref() == Some(device_id) && facts.issued >= device.since
        };
        let presented = match &self.caller.proof {
            Some(DeviceProof::Token(token)) => {
                let checked = token.check(&self.access.keys, self.now.wall);
                checked.is_ok_and(|token| is_its_token(&token.facts))
            }
            Some(DeviceProof::Secret(secret)) => device.has_secret(secret),
            Some(DeviceProof::Malformed) | None => false,
        };
        presented || self.caller.identity.token.as_deref().is_some_and(is_its_token)
    }
}
