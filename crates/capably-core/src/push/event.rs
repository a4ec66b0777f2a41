//! The states and events of the activation (RSH3).

use std::fmt;

use capably_protocol::{ErrorInfo, Str};
use serde::{Deserialize, Serialize};

use super::{Identity, PushCallId};

/// The state of the activation (RSH3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActivationState {
    /// The device is not activated (RSH3a).
    #[default]
    NotActivated,
    /// The platform was asked for the address of the device (RSH3b).
    WaitingForPushDeviceDetails,
    /// The device is being registered (RSH3c).
    WaitingForDeviceRegistration,
    /// The device is registered. A change of its address is sent to the service (RSH3d).
    WaitingForNewPushDeviceDetails,
    /// Details of the registered device are being sent (RSH3e).
    WaitingForRegistrationSync(SyncCause),
    /// The service has refused or not received details of the registered device (RSH3f).
    AfterRegistrationSyncFailed,
    /// The registration is being removed (RSH3g).
    WaitingForDeregistration(BeforeDeregistration),
}

/// Why details of the registered device are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncCause {
    /// A call of `activate`, which gets the result (RSH3e2b).
    Activate,
    /// A change of the device. The program is told of the result (RSH3e2c).
    Change,
}

/// The state before the removal of a registration, and again after a failure of it (RSH3g3b).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BeforeDeregistration {
    /// [`ActivationState::NotActivated`], with a device that is registered (RSH3a1c).
    NotActivated,
    /// [`ActivationState::WaitingForNewPushDeviceDetails`].
    WaitingForNewPushDeviceDetails,
    /// [`ActivationState::AfterRegistrationSyncFailed`].
    AfterRegistrationSyncFailed,
}

impl From<BeforeDeregistration> for ActivationState {
    fn from(before: BeforeDeregistration) -> Self {
        match before {
            BeforeDeregistration::NotActivated => Self::NotActivated,
            BeforeDeregistration::WaitingForNewPushDeviceDetails => {
                Self::WaitingForNewPushDeviceDetails
            }
            BeforeDeregistration::AfterRegistrationSyncFailed => Self::AfterRegistrationSyncFailed,
        }
    }
}

/// The result of a registration (RSH3c2a). `Debug` shows no token.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceRegistration {
    /// The token that authenticates the device (RSH8c).
    pub device_identity_token: Str,
    /// The client id of the registered device (RSH8f).
    pub client_id: Option<Str>,
}

impl fmt::Debug for DeviceRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceRegistration")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// An event of the activation, by the name that the specification gives it (RSH3).
#[derive(Clone)]
pub(super) enum Event {
    CalledActivate(PushCallId, Identity),
    CalledDeactivate(PushCallId),
    /// The address of the device is known or has changed. The device has it already (RSH8g).
    GotPushDeviceDetails,
    GettingPushDeviceDetailsFailed(ErrorInfo),
    GotDeviceRegistration(DeviceRegistration),
    GettingDeviceRegistrationFailed(ErrorInfo),
    /// With a new identity token, if the program's callback has returned one.
    RegistrationSynced(Option<Str>),
    SyncRegistrationFailed(ErrorInfo),
    Deregistered,
    DeregistrationFailed(ErrorInfo),
}

impl Event {
    /// Whether the state has a transition for the event. Without one, the event waits (RSH4).
    pub(super) fn is_handled_in(&self, state: ActivationState) -> bool {
        use ActivationState as State;
        match self {
            Self::CalledActivate(..) => match state {
                State::NotActivated
                | State::WaitingForPushDeviceDetails
                | State::WaitingForDeviceRegistration
                | State::WaitingForNewPushDeviceDetails
                | State::WaitingForRegistrationSync(SyncCause::Change)
                | State::AfterRegistrationSyncFailed => true,
                State::WaitingForRegistrationSync(SyncCause::Activate)
                | State::WaitingForDeregistration(_) => false,
            },
            Self::CalledDeactivate(_) => match state {
                State::NotActivated
                | State::WaitingForPushDeviceDetails
                | State::WaitingForNewPushDeviceDetails
                | State::AfterRegistrationSyncFailed
                | State::WaitingForDeregistration(_) => true,
                State::WaitingForDeviceRegistration | State::WaitingForRegistrationSync(_) => false,
            },
            Self::GotPushDeviceDetails => match state {
                State::NotActivated
                | State::WaitingForPushDeviceDetails
                | State::WaitingForNewPushDeviceDetails
                | State::AfterRegistrationSyncFailed => true,
                State::WaitingForDeviceRegistration
                | State::WaitingForRegistrationSync(_)
                | State::WaitingForDeregistration(_) => false,
            },
            Self::GettingPushDeviceDetailsFailed(_) => state == State::WaitingForPushDeviceDetails,
            Self::GotDeviceRegistration(_) | Self::GettingDeviceRegistrationFailed(_) => {
                state == State::WaitingForDeviceRegistration
            }
            Self::RegistrationSynced(_) | Self::SyncRegistrationFailed(_) => {
                matches!(state, State::WaitingForRegistrationSync(_))
            }
            Self::Deregistered | Self::DeregistrationFailed(_) => {
                matches!(state, State::WaitingForDeregistration(_))
            }
        }
    }
}
