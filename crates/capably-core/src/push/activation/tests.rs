//! The activation: every state with every event, recovery from every stored state, and random events.

use std::collections::BTreeMap;

use capably_protocol::{ErrorCode, ErrorInfo, JsonObject, Str};
use serde_json::{Value, json};

use crate::push::{event::Event, stored::Remembered, *};

mod matrix;
mod random;
mod recovery;
mod stories;

const ALL_STATES: [ActivationState; 10] = [
    ActivationState::NotActivated,
    ActivationState::WaitingForPushDeviceDetails,
    ActivationState::WaitingForDeviceRegistration,
    ActivationState::WaitingForNewPushDeviceDetails,
    ActivationState::WaitingForRegistrationSync(SyncCause::Activate),
    ActivationState::WaitingForRegistrationSync(SyncCause::Change),
    ActivationState::AfterRegistrationSyncFailed,
    ActivationState::WaitingForDeregistration(BeforeDeregistration::NotActivated),
    ActivationState::WaitingForDeregistration(BeforeDeregistration::WaitingForNewPushDeviceDetails),
    ActivationState::WaitingForDeregistration(BeforeDeregistration::AfterRegistrationSyncFailed),
];

fn profile() -> DeviceProfile {
    DeviceProfile { metadata: BTreeMap::from([("a".into(), "b".into())]), ..Default::default() }
}

fn identity(number: u64) -> Identity {
    Identity { id: format!("device-{number}").into(), secret: format!("secret-{number}").into() }
}

fn address(token: &str) -> JsonObject {
    let address = json!({"transportType": "fcm", "registrationToken": token});
    address.as_object().cloned().unwrap()
}

fn error(message: &'static str) -> ErrorInfo {
    ErrorInfo::new(ErrorCode::INTERNAL_ERROR, 500, message)
}

fn registration(token: &str, client_id: Option<&str>) -> DeviceRegistration {
    DeviceRegistration { device_identity_token: token.into(), client_id: client_id.map(Str::from) }
}

fn fresh() -> PushActivation {
    PushActivation::restore(None, profile())
}

/// An activation that an earlier process left in this state.
fn left_in(state: ActivationState) -> PushActivation {
    PushActivation::restore(Some(&stored_in(state)), profile())
}

/// The bytes that an earlier process has stored, when its activation was in this state.
fn stored_in(state: ActivationState) -> Vec<u8> {
    let mut device = LocalDevice { id: "device-0".into(), ..LocalDevice::default() };
    device.device_secret = Some("secret-0".into());
    if state != ActivationState::WaitingForPushDeviceDetails {
        device.set_address(address("t0"));
    }
    if !matches!(
        state,
        ActivationState::NotActivated
            | ActivationState::WaitingForPushDeviceDetails
            | ActivationState::WaitingForDeviceRegistration
    ) {
        device.device_identity_token = Some("identity-0".into());
    }
    Remembered { state, device, ..Remembered::default() }.encode()
}

fn outputs(activation: &mut PushActivation) -> Vec<PushOutput> {
    std::iter::from_fn(|| activation.poll_output()).collect()
}

/// The only output, which is a request.
#[track_caller]
fn request(activation: &mut PushActivation) -> (PushRequestId, PushRequest) {
    let outputs = outputs(activation);
    let [PushOutput::Request(id, request)] = outputs[..] else {
        panic!("not one request: {outputs:?}")
    };
    (id, request)
}

/// A process ends, and another one goes on from what it has stored.
fn restarted(activation: &PushActivation) -> PushActivation {
    PushActivation::restore(Some(&activation.encode()), profile())
}
