//! The activation state machine (RSH3, RSH4, RSH5).

use std::{collections::VecDeque, fmt, mem};

use capably_protocol::{ErrorCode, ErrorInfo, JsonObject, Str};

use super::{
    ActivationState, BeforeDeregistration, DeviceProfile, DeviceRegistration, LocalDevice,
    PushCallId, PushOutput, PushRequest, PushRequestId, SyncCause,
    event::Event,
    stored::{Remembered, Unsent},
};

/// A new identity for a device: a unique id, and a secret of at least 32 random bytes in base64 (RSH3a2b). `Debug` shows
/// no secret.
#[derive(Clone)]
pub struct Identity {
    /// The id of the device.
    pub id: Str,
    /// The secret of the device.
    pub secret: Str,
}

/// The activation of the program as a push device (RSH3).
///
/// # Contract
///
/// 1. Make it with [`restore`](Self::restore) from the bytes that were stored last (RSH3h).
/// 2. Call a method for each input: a call of the program, or the result of a request.
/// 3. After each input, store [`encode`](Self::encode) if it has changed, and then carry out all outputs
///    ([`poll_output`](Self::poll_output)). In this order, a crash at any point loses nothing: the service never knows a
///    device that the storage does not.
/// 4. If storing fails, drop the outputs and the activation, and restore it from what was stored before. Its calls end
///    with the error of the storage.
///
/// A request that was under way when the process ended is made again, with the first input that needs it. All requests
/// can be repeated: the device keeps its id and its secret until it is deregistered.
///
/// Every call ends with one [`PushOutput::Done`] if every request gets a result.
///
/// ```
/// use capably_core::push::{
///     DeviceProfile, DeviceRegistration, Identity, PushActivation, PushCallId, PushOutput, PushRequest,
/// };
/// use capably_protocol::JsonObject;
///
/// let mut activation = PushActivation::restore(None, DeviceProfile::default());
/// let identity = Identity { id: "an id".into(), secret: "a secret".into() };
/// activation.activate(PushCallId(1), identity);
/// let Some(PushOutput::Request(request, PushRequest::Details)) = activation.poll_output() else {
///     panic!("the address is needed first");
/// };
/// let mut address = JsonObject::new();
/// address.insert("transportType".into(), "fcm".into());
/// address.insert("registrationToken".into(), "a token".into());
/// activation.handle_details(request, Ok(address));
/// let Some(PushOutput::Request(request, PushRequest::Register)) = activation.poll_output() else {
///     panic!("then the device is registered");
/// };
/// let registration =
///     DeviceRegistration { device_identity_token: "its token".into(), client_id: None };
/// activation.handle_registration(request, Ok(registration));
/// assert_eq!(activation.poll_output(), Some(PushOutput::Done(PushCallId(1), Ok(()))));
/// assert!(activation.device().is_registered());
/// ```
pub struct PushActivation {
    profile: DeviceProfile,
    remembered: Remembered,
    /// The client id of the SDK's client, if it is identified (RSA7).
    client_id: Option<Str>,
    /// The calls of `activate` whose event was handled and which wait for the result.
    activating: Vec<PushCallId>,
    /// The same of `deactivate`.
    deactivating: Vec<PushCallId>,
    /// Events that wait for a state which handles them (RSH4).
    queue: VecDeque<Event>,
    /// Events that the transition under way has sent.
    sent: VecDeque<Event>,
    /// The request whose result is awaited.
    awaited: Option<PushRequestId>,
    next_request: u64,
    /// Whether the state is from an earlier process, and its request was not made again yet.
    is_dormant: bool,
    outputs: VecDeque<PushOutput>,
}

/// The inputs.
impl PushActivation {
    /// The activation as it was stored; without stored bytes, one that has never begun (RSH3h, RSH8a).
    pub fn restore(stored: Option<&[u8]>, profile: DeviceProfile) -> Self {
        Self {
            remembered: Remembered::decode(stored, &profile),
            profile,
            client_id: None,
            activating: Vec::new(),
            deactivating: Vec::new(),
            queue: VecDeque::new(),
            sent: VecDeque::new(),
            awaited: None,
            next_request: 0,
            is_dormant: true,
            outputs: VecDeque::new(),
        }
    }

    /// Activates the device (RSH2a). The new identity is used if the device has none when the call is handled.
    pub fn activate(&mut self, call: PushCallId, identity: Identity) {
        self.resume();
        self.fire(Event::CalledActivate(call, identity));
    }

    /// Deactivates the device (RSH2b).
    pub fn deactivate(&mut self, call: PushCallId) {
        self.resume();
        self.fire(Event::CalledDeactivate(call));
    }

    /// The client id of the SDK's client, if it is identified (RSA7). A device without a client id gets this one (RSH8d),
    /// and the service learns it (RSH8e). Call this before the other inputs, and whenever the client id changes.
    pub fn identified(&mut self, client_id: Option<&Str>) {
        self.client_id = client_id.filter(|id| !id.is_empty() && **id != "*").cloned();
        let device = &mut self.remembered.device;
        if device.id.is_empty() || device.client_id.is_some() || self.client_id.is_none() {
            return;
        }
        device.client_id.clone_from(&self.client_id);
        let is_active = self.remembered.state != ActivationState::NotActivated;
        if device.is_registered() && is_active {
            self.remembered.unsent.client_id = true;
            if self.is_dormant {
                // Sends what was not sent.
                self.resume();
            } else {
                self.fire(Event::GotPushDeviceDetails);
            }
        } else if self.remembered.state == ActivationState::WaitingForDeviceRegistration {
            // The registration under way may be without it.
            self.remembered.unsent.client_id = true;
        }
    }

    /// The platform has given the device an address without being asked, such as a refreshed token (RSH8g).
    pub fn details_changed(&mut self, address: JsonObject) {
        self.resume();
        self.got_details(address);
    }

    /// An attempt to get the address failed that the activation has not asked for (RSH8h).
    pub fn details_failed(&mut self, error: ErrorInfo) {
        self.resume();
        self.fire(Event::GettingPushDeviceDetailsFailed(error));
    }

    /// The result of [`PushRequest::Details`].
    pub fn handle_details(
        &mut self,
        request: PushRequestId,
        result: Result<JsonObject, ErrorInfo>,
    ) {
        if self.has_awaited(request) {
            match result {
                Ok(address) => self.got_details(address),
                Err(error) => self.fire(Event::GettingPushDeviceDetailsFailed(error)),
            }
        }
    }

    /// The result of [`PushRequest::Register`].
    pub fn handle_registration(
        &mut self,
        request: PushRequestId,
        result: Result<DeviceRegistration, ErrorInfo>,
    ) {
        if self.has_awaited(request) {
            self.fire(match result {
                Ok(registration) => Event::GotDeviceRegistration(registration),
                Err(error) => Event::GettingDeviceRegistrationFailed(error),
            });
        }
    }

    /// The result of [`PushRequest::Validate`] and [`PushRequest::Update`]: a new identity token, if there is one.
    pub fn handle_sync(&mut self, request: PushRequestId, result: Result<Option<Str>, ErrorInfo>) {
        if self.has_awaited(request) {
            self.fire(match result {
                Ok(token) => Event::RegistrationSynced(token),
                Err(error) => Event::SyncRegistrationFailed(error),
            });
        }
    }

    /// The result of [`PushRequest::Deregister`]. If the service refuses the identity of the device, the registration
    /// is gone, and the result should be `Ok`: see [`is_deregistered`](Self::is_deregistered).
    pub fn handle_deregistration(&mut self, request: PushRequestId, result: Result<(), ErrorInfo>) {
        if self.has_awaited(request) {
            self.fire(match result {
                Ok(()) => Event::Deregistered,
                Err(error) => Event::DeregistrationFailed(error),
            });
        }
    }

    /// The next step for the driver.
    pub fn poll_output(&mut self) -> Option<PushOutput> {
        self.outputs.pop_front()
    }
}

/// The queries: they change nothing.
impl PushActivation {
    /// The bytes to store. They contain secrets.
    pub fn encode(&self) -> Vec<u8> {
        self.remembered.encode()
    }

    /// The state.
    pub fn state(&self) -> ActivationState {
        self.remembered.state
    }

    /// The device (RSH8).
    pub fn device(&self) -> &LocalDevice {
        &self.remembered.device
    }

    /// Whether the service's answer to a removal means that there is no registration of the device any more (RSH3d2c1).
    pub fn is_deregistered(error: &ErrorInfo) -> bool {
        error.status_code == 401 || error.code == ErrorCode::INVALID_CREDENTIAL
    }
}

/// The transitions.
impl PushActivation {
    /// Handles an event, and then those that it makes possible (RSH4, RSH5).
    fn fire(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            if self.handles(&event) {
                self.transition(event);
            } else {
                self.enqueue(event);
            }
            next = self.sent.pop_front().or_else(|| self.dequeue());
        }
    }

    fn handles(&self, event: &Event) -> bool {
        event.is_handled_in(self.remembered.state)
    }

    fn transition(&mut self, event: Event) {
        match event {
            Event::CalledActivate(call, identity) => self.called_activate(call, identity),
            Event::CalledDeactivate(call) => self.called_deactivate(call),
            Event::GotPushDeviceDetails => self.got_push_device_details(),
            Event::GettingPushDeviceDetailsFailed(error)
            | Event::GettingDeviceRegistrationFailed(error) => {
                self.abandon();
                self.enter(ActivationState::NotActivated);
                self.end_activating(&Err(error));
            }
            Event::GotDeviceRegistration(registration) => self.got_registration(registration),
            Event::RegistrationSynced(token) => {
                if token.is_some() {
                    self.remembered.device.device_identity_token = token;
                }
                self.synced(Ok(()), ActivationState::WaitingForNewPushDeviceDetails);
            }
            Event::SyncRegistrationFailed(error) => {
                self.synced(Err(error), ActivationState::AfterRegistrationSyncFailed);
            }
            Event::Deregistered => self.clear(),
            Event::DeregistrationFailed(error) => {
                if let ActivationState::WaitingForDeregistration(before) = self.remembered.state {
                    self.enter(before.into());
                }
                self.end_deactivating(&Err(error));
            }
        }
    }

    fn called_activate(&mut self, call: PushCallId, identity: Identity) {
        use ActivationState as State;
        match self.remembered.state {
            State::NotActivated if self.remembered.device.is_registered() => {
                self.activating.push(call);
                self.validate(SyncCause::Activate);
            }
            State::NotActivated => {
                self.activating.push(call);
                self.begin(identity);
            }
            State::AfterRegistrationSyncFailed => {
                self.activating.push(call);
                self.validate(SyncCause::Activate);
            }
            State::WaitingForPushDeviceDetails | State::WaitingForDeviceRegistration => {
                self.activating.push(call);
            }
            State::WaitingForNewPushDeviceDetails | State::WaitingForRegistrationSync(_) => {
                self.output(PushOutput::Done(call, Ok(())));
            }
            State::WaitingForDeregistration(_) => {}
        }
    }

    /// Begins the activation of a device that is not registered (RSH3a2b to RSH3a2e).
    fn begin(&mut self, identity: Identity) {
        let device = &mut self.remembered.device;
        if device.id.is_empty() {
            device.id = identity.id;
            device.device_secret = Some(identity.secret);
            device.client_id.clone_from(&self.client_id);
        }
        self.enter(ActivationState::WaitingForPushDeviceDetails);
        // A failure from before this activation must not end it.
        self.queue.retain(|event| !matches!(event, Event::GettingPushDeviceDetailsFailed(_)));
        if self.remembered.device.has_address() {
            self.sent.push_back(Event::GotPushDeviceDetails);
        } else {
            self.request(PushRequest::Details);
        }
    }

    fn called_deactivate(&mut self, call: PushCallId) {
        use ActivationState as State;
        self.deactivating.push(call);
        match self.remembered.state {
            State::NotActivated if self.remembered.device.is_registered() => {
                self.deregister(BeforeDeregistration::NotActivated);
            }
            State::NotActivated => self.clear(),
            State::WaitingForPushDeviceDetails => {
                self.abandon();
                self.enter(State::NotActivated);
                self.end_activating(&Err(deactivated()));
                self.end_deactivating(&Ok(()));
            }
            State::WaitingForNewPushDeviceDetails => {
                self.deregister(BeforeDeregistration::WaitingForNewPushDeviceDetails);
            }
            State::AfterRegistrationSyncFailed => {
                self.deregister(BeforeDeregistration::AfterRegistrationSyncFailed);
            }
            State::WaitingForDeregistration(_)
            | State::WaitingForDeviceRegistration
            | State::WaitingForRegistrationSync(_) => {}
        }
    }

    fn got_push_device_details(&mut self) {
        use ActivationState as State;
        match self.remembered.state {
            State::WaitingForPushDeviceDetails => {
                self.abandon();
                self.enter(State::WaitingForDeviceRegistration);
                self.request(PushRequest::Register);
            }
            State::WaitingForNewPushDeviceDetails => {
                let Unsent { address, client_id } = self.remembered.unsent;
                self.enter(State::WaitingForRegistrationSync(SyncCause::Change));
                // An event without a change is about the address.
                let address = address || !client_id;
                self.request(PushRequest::Update { address, client_id });
            }
            State::AfterRegistrationSyncFailed => self.validate(SyncCause::Change),
            State::NotActivated
            | State::WaitingForDeviceRegistration
            | State::WaitingForRegistrationSync(_)
            | State::WaitingForDeregistration(_) => {}
        }
    }

    /// Sends all details of the registered device, unless it belongs to another client (RSH3a2a).
    fn validate(&mut self, cause: SyncCause) {
        self.enter(ActivationState::WaitingForRegistrationSync(cause));
        match (&self.remembered.device.client_id, &self.client_id) {
            (Some(registered), Some(present)) if registered != present => {
                let error = other_client(registered, present);
                self.sent.push_back(Event::SyncRegistrationFailed(error));
            }
            (Some(_) | None, Some(_) | None) => self.request(PushRequest::Validate),
        }
    }

    fn got_registration(&mut self, registration: DeviceRegistration) {
        let device = &mut self.remembered.device;
        device.device_identity_token = Some(registration.device_identity_token);
        let client_id = registration.client_id.filter(|id| !id.is_empty());
        if device.client_id == client_id {
            self.remembered.unsent.client_id = false;
        } else if device.client_id.is_none() {
            device.client_id = client_id;
        }
        self.enter(ActivationState::WaitingForNewPushDeviceDetails);
        if self.remembered.unsent.any() {
            self.enqueue(Event::GotPushDeviceDetails);
        }
        self.end_activating(&Ok(()));
    }

    fn synced(&mut self, result: Result<(), ErrorInfo>, next: ActivationState) {
        let cause = self.remembered.state;
        self.enter(next);
        match cause {
            ActivationState::WaitingForRegistrationSync(SyncCause::Activate) => {
                self.end_activating(&result);
            }
            ActivationState::WaitingForRegistrationSync(SyncCause::Change)
            | ActivationState::NotActivated
            | ActivationState::WaitingForPushDeviceDetails
            | ActivationState::WaitingForDeviceRegistration
            | ActivationState::WaitingForNewPushDeviceDetails
            | ActivationState::AfterRegistrationSyncFailed
            | ActivationState::WaitingForDeregistration(_) => {
                self.output(PushOutput::Updated(result));
            }
        }
    }

    fn deregister(&mut self, before: BeforeDeregistration) {
        self.enter(ActivationState::WaitingForDeregistration(before));
        self.request(PushRequest::Deregister);
    }

    /// Clears the device: it was never activated (RSH3g2).
    fn clear(&mut self) {
        self.remembered =
            Remembered { device: LocalDevice::new(&self.profile), ..Remembered::default() };
        self.enter(ActivationState::NotActivated);
        self.end_deactivating(&Ok(()));
    }
}

/// Parts of transitions.
impl PushActivation {
    fn enter(&mut self, state: ActivationState) {
        if self.remembered.state != state {
            tracing::debug!(from = ?self.remembered.state, to = ?state, "push activation");
        }
        self.remembered.state = state;
    }

    fn output(&mut self, output: PushOutput) {
        self.outputs.push_back(output);
    }

    /// Makes a request, which sends the device as it is now.
    fn request(&mut self, request: PushRequest) {
        match request {
            PushRequest::Register | PushRequest::Validate | PushRequest::Update { .. } => {
                self.remembered.unsent = Unsent::default();
            }
            PushRequest::Details | PushRequest::Deregister => {}
        }
        let id = PushRequestId(self.next_request);
        self.next_request += 1;
        self.awaited = Some(id);
        self.output(PushOutput::Request(id, request));
    }

    /// Whether the result of this request was awaited. It is not any more.
    fn has_awaited(&mut self, request: PushRequestId) -> bool {
        self.awaited.take_if(|awaited| *awaited == request).is_some()
    }

    /// The result of the awaited request, if there is one, does not matter any more.
    fn abandon(&mut self) {
        if let Some(request) = self.awaited.take() {
            self.output(PushOutput::Abandon(request));
        }
    }

    /// Makes the request of the restored state again, before its first event.
    fn resume(&mut self) {
        if !mem::take(&mut self.is_dormant) {
            return;
        }
        match self.remembered.state {
            ActivationState::WaitingForPushDeviceDetails => {
                if self.remembered.device.has_address() {
                    self.fire(Event::GotPushDeviceDetails);
                } else {
                    self.request(PushRequest::Details);
                }
            }
            ActivationState::WaitingForDeviceRegistration => {
                self.request(PushRequest::Register);
            }
            // Whichever details were under way, all of them are sent.
            ActivationState::WaitingForRegistrationSync(cause) => {
                self.validate(cause);
                if let Some(event) = self.sent.pop_front() {
                    self.fire(event);
                }
            }
            ActivationState::WaitingForDeregistration(_) => self.request(PushRequest::Deregister),
            ActivationState::NotActivated
            | ActivationState::WaitingForNewPushDeviceDetails
            | ActivationState::AfterRegistrationSyncFailed => {}
        }
        if self.remembered.unsent.any() {
            self.fire(Event::GotPushDeviceDetails);
        }
    }

    fn got_details(&mut self, address: JsonObject) {
        use ActivationState as State;
        let is_new = self.remembered.device.set_address(address);
        match self.remembered.state {
            // The service has this address, or is being sent it.
            State::WaitingForDeviceRegistration
            | State::WaitingForNewPushDeviceDetails
            | State::WaitingForRegistrationSync(_)
                if !is_new =>
            {
                return;
            }
            State::WaitingForDeviceRegistration
            | State::WaitingForNewPushDeviceDetails
            | State::WaitingForRegistrationSync(_)
            | State::AfterRegistrationSyncFailed
            | State::WaitingForDeregistration(_) => self.remembered.unsent.address = true,
            State::NotActivated | State::WaitingForPushDeviceDetails => {}
        }
        self.fire(Event::GotPushDeviceDetails);
    }

    /// Puts an event into the queue (RSH4). Events without a call carry nothing but their newest state, so that one of
    /// each kind is enough.
    fn enqueue(&mut self, event: Event) {
        match event {
            Event::GotPushDeviceDetails => {
                self.queue.retain(|queued| !matches!(queued, Event::GotPushDeviceDetails));
            }
            Event::GettingPushDeviceDetailsFailed(_) => self
                .queue
                .retain(|queued| !matches!(queued, Event::GettingPushDeviceDetailsFailed(_))),
            Event::CalledActivate(..)
            | Event::CalledDeactivate(_)
            | Event::GotDeviceRegistration(_)
            | Event::GettingDeviceRegistrationFailed(_)
            | Event::RegistrationSynced(_)
            | Event::SyncRegistrationFailed(_)
            | Event::Deregistered
            | Event::DeregistrationFailed(_) => {}
        }
        self.queue.push_back(event);
    }

    /// Takes the first event of the queue that the state handles. An event that it does not handle keeps its place, and
    /// does not hold up those behind it: otherwise a call could wait for ever.
    fn dequeue(&mut self) -> Option<Event> {
        let place = self.queue.iter().position(|event| self.handles(event))?;
        self.queue.remove(place)
    }

    fn end_activating(&mut self, result: &Result<(), ErrorInfo>) {
        for call in mem::take(&mut self.activating) {
            self.output(PushOutput::Done(call, result.clone()));
        }
    }

    fn end_deactivating(&mut self, result: &Result<(), ErrorInfo>) {
        for call in mem::take(&mut self.deactivating) {
            self.output(PushOutput::Done(call, result.clone()));
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for PushActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushActivation")
            .field("state", &self.remembered.state)
            .field("device", &self.remembered.device)
            .field("awaited", &self.awaited)
            .finish_non_exhaustive()
    }
}

/// The registration belongs to another client (RSH3a2a1).
fn other_client(registered: &Str, present: &Str) -> ErrorInfo {
    let message = format!(
        "the device is registered for the client `{registered}`, and the present client is `{present}`"
    );
    ErrorInfo::new(ErrorCode::DEVICE_REGISTRATION_CLIENT_ID_MISMATCH, 400, message)
}

/// A call of `deactivate` has ended the activation (RSH3b2).
fn deactivated() -> ErrorInfo {
    ErrorInfo::new(
        ErrorCode::BAD_REQUEST,
        400,
        "a call of `deactivate` has ended the activation before the device was registered",
    )
}

#[cfg(test)]
mod tests;
