//! Who may do what with devices and their subscriptions.

use capably_protocol::{ErrorInfo, PushChannelSubscription, Str};

use crate::hub::{
    App, Now,
    access::{
        capability::Operation,
        identity::Identity,
        token::{PresentedToken, TokenFacts},
    },
    error,
};

/// Who asks. It may hold a secret, so it has no `Debug`.
pub(crate) struct PushCaller {
    pub(crate) identity: Identity,
    /// By what it shows that it is a certain device (RSH6).
    pub(crate) proof: Option<DeviceProof>,
}

/// By what a caller shows that it is a certain device.
pub(crate) enum DeviceProof {
    /// The token that the device was given when it registered (RSH6a).
    Token(PresentedToken),
    /// The secret that it has registered with (RSH6b).
    Secret(Str),
    /// Something else, which shows nothing.
    Malformed,
}

impl PushCaller {
    /// Whether it may administer push, at least on some channels.
    pub(super) fn is_admin(&self) -> bool {
        self.identity.capability.allows_anywhere(&Operation::PushAdmin)
    }

    pub(super) fn may_administer(&self, channel: &str) -> bool {
        self.identity.capability.allows(channel, &Operation::PushAdmin)
    }

    /// # Errors
    /// Code 40160 when it may not administer push.
    pub(super) fn require_admin(&self) -> Result<(), ErrorInfo> {
        if self.is_admin() { Ok(()) } else { Err(error::denied(Operation::PushAdmin.as_str())) }
    }

    /// # Errors
    /// Code 40160 when it has nothing to do with push.
    pub(super) fn require_any(&self) -> Result<(), ErrorInfo> {
        if self.identity.capability.allows_anywhere(&Operation::PushSubscribe) {
            return Ok(());
        }
        self.require_admin()
    }
}

impl App {
    /// # Errors
    /// Code 40160 when the caller neither administers push nor says that it is the device, 40005 when it
    /// says so and is not.
    pub(super) fn require_device(
        &self,
        caller: &PushCaller,
        device_id: &str,
        now: Now,
    ) -> Result<(), ErrorInfo> {
        if caller.is_admin() || self.is_device(caller, device_id, now) {
            Ok(())
        } else if caller.proof.is_some() {
            Err(error::bad_device_credentials())
        } else {
            Err(error::denied(Operation::PushAdmin.as_str()))
        }
    }

    /// Checks that the caller may have and change a subscription: its own, or any of the channel.
    ///
    /// # Errors
    /// Code 40160 for the capability, 40012 for a subscription of another client, 40005 for one of
    /// another device.
    pub(super) fn require_subscription(
        &self,
        caller: &PushCaller,
        subscription: &PushChannelSubscription,
        now: Now,
    ) -> Result<(), ErrorInfo> {
        let channel = subscription.channel();
        if caller.may_administer(channel) {
            return Ok(());
        }
        caller.identity.require(channel, Operation::PushSubscribe)?;
        match (subscription.device_id(), subscription.client_id()) {
            (Some(device_id), _) if self.is_device(caller, device_id, now) => Ok(()),
            (Some(_), _) => Err(error::bad_device_credentials()),
            (None, client_id) => caller.identity.client_id_for(client_id.map(Str::from)).map(drop),
        }
    }

    /// Whether the caller has shown that it is the device.
    fn is_device(&self, caller: &PushCaller, device_id: &str, now: Now) -> bool {
        let Some(device) = self.channels.push.device(device_id) else { return false };
        let is_its_token = |facts: &TokenFacts| {
            // A token outlives its device, and an id may be registered again.
            facts.device_id.as_deref() == Some(device_id) && facts.issued >= device.since
        };
        let presented = match &caller.proof {
            Some(DeviceProof::Token(token)) => {
                token.check(&self.keys, now.wall).is_ok_and(|token| is_its_token(&token.facts))
            }
            Some(DeviceProof::Secret(secret)) => device.has_secret(secret),
            Some(DeviceProof::Malformed) | None => false,
        };
        presented || caller.identity.token.as_deref().is_some_and(is_its_token)
    }
}
