//! An episode: from a call until nothing is under way.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
};

use capably_core::push::{
    ActivationState, Identity, LocalDevice, PushActivation, PushCallId, PushOutput, PushRequest,
    PushRequestId,
};
use capably_protocol::{ErrorCode, ErrorInfo};
use futures_util::FutureExt;
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::{
    PushOptions,
    activate::{Command, PushDevice, Reply},
    requests::{self, Answer},
};
use crate::{Error, Result, http::BoxFuture, random, rest::Pipeline};

/// Handles commands until there are none and nothing is under way.
pub(super) async fn run(pipeline: Arc<Pipeline>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let Some(device) = pipeline.push_device() else { return };
    let turn = Arc::new(Arc::clone(&device.options.turn).lock_owned().await);
    loop {
        let mut calls = Calls::default();
        // Each pass takes a command at least, so that a storage that always fails ends the loop.
        if let Some(first) = commands.recv().await
            && let Err(error) =
                Episode::handle(&pipeline, device, &turn, first, &mut commands, &mut calls).await
        {
            tracing::warn!(error = %error.logged(), "the storage of the push device failed");
            calls.fail(&error);
        }
        if device.end_episode(&commands) {
            return;
        }
    }
}

/// The calls that wait for the machine.
#[derive(Default)]
struct Calls {
    next: u64,
    waiting: BTreeMap<PushCallId, Reply<()>>,
    /// Calls that end as soon as the device is stored.
    stored: Vec<Reply<()>>,
}

impl Calls {
    fn add(&mut self, reply: Reply<()>) -> PushCallId {
        let call = PushCallId(self.next);
        self.next += 1;
        self.waiting.insert(call, reply);
        call
    }

    fn fail(self, error: &Error) {
        for reply in self.waiting.into_values().chain(self.stored) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// An input of an episode.
enum Next {
    Command(Command),
    Answer(Answer),
    Verification(Answer),
}

struct Episode<'a> {
    pipeline: &'a Arc<Pipeline>,
    device: &'a PushDevice,
    turn: &'a Arc<OwnedMutexGuard<()>>,
    calls: &'a mut Calls,
    activation: PushActivation,
    /// What the storage has.
    stored: Vec<u8>,
    request: Option<(PushRequestId, BoxFuture<'static, Answer>)>,
    /// The question whether the address is still the same (RSH8i).
    verification: Option<BoxFuture<'static, Answer>>,
    /// The error of the last request, with what the machine does not keep of it: its source and its remedy.
    error: Option<Error>,
}

impl Episode<'_> {
    /// Handles the first command and those that arrive until nothing is under way.
    ///
    /// # Errors
    /// The error of the storage. The calls wait for it.
    async fn handle(
        pipeline: &Arc<Pipeline>,
        device: &PushDevice,
        turn: &Arc<OwnedMutexGuard<()>>,
        first: Command,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        calls: &mut Calls,
    ) -> Result<()> {
        let (activation, stored) = match load(&device.options, turn).await {
            Ok(loaded) => loaded,
            Err(error) => {
                first.fail(error.clone());
                return Err(error);
            }
        };
        let mut episode = Episode {
            pipeline,
            device,
            turn,
            calls,
            activation,
            stored,
            request: None,
            verification: None,
            error: None,
        };
        episode.command(first).await?;
        loop {
            if episode.is_idle() && commands.is_empty() {
                return Ok(());
            }
            match episode.next(commands).await {
                Next::Command(command) => episode.command(command).await?,
                Next::Answer(answer) => episode.answered(answer).await?,
                Next::Verification(answer) => episode.verified(answer).await?,
            }
        }
    }

    /// Waits for the next input. A command comes first: it may make a result unnecessary.
    async fn next(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Next {
        poll_fn(|cx| {
            if let Poll::Ready(Some(command)) = commands.poll_recv(cx) {
                return Poll::Ready(Next::Command(command));
            }
            if let Some((_, request)) = &mut self.request
                && let Poll::Ready(answer) = request.poll_unpin(cx)
            {
                return Poll::Ready(Next::Answer(answer));
            }
            if let Some(verification) = &mut self.verification
                && let Poll::Ready(answer) = verification.poll_unpin(cx)
            {
                return Poll::Ready(Next::Verification(answer));
            }
            Poll::Pending
        })
        .await
    }

    fn is_idle(&self) -> bool {
        self.request.is_none() && self.verification.is_none()
    }

    async fn command(&mut self, command: Command) -> Result<()> {
        self.activation.identified(self.pipeline.session().client_id().as_ref());
        let mut asked = None;
        match command {
            Command::Activate(reply) => match identity() {
                Ok(identity) => {
                    let call = self.calls.add(reply);
                    self.activation.activate(call, identity);
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Deactivate(reply) => {
                let call = self.calls.add(reply);
                self.activation.deactivate(call);
            }
            Command::NewAddress(address, reply) => {
                self.calls.stored.push(reply);
                // An answer of the transport would be older.
                self.device.begins_verification();
                self.verification = None;
                self.activation.details_changed(address);
            }
            Command::Device(reply) => asked = Some(reply),
            Command::Identified => {}
        }
        if let Err(error) = self.settle().await {
            if let Some(reply) = asked {
                let _ = reply.send(Err(error.clone()));
            }
            return Err(error);
        }
        if let Some(reply) = asked {
            let _ = reply.send(Ok(self.activation.device().clone()));
        }
        if self.is_registered() && self.device.begins_verification() {
            self.verification = Some(requests::address(&self.device.options));
        }
        Ok(())
    }

    async fn answered(&mut self, answer: Answer) -> Result<()> {
        let Some((id, _)) = self.request.take() else { return Ok(()) };
        match answer {
            Answer::Address(result) => {
                let result = self.info(result);
                self.activation.handle_details(id, result);
            }
            Answer::Registered(result) => {
                let result = self.info(result);
                self.activation.handle_registration(id, result);
            }
            Answer::Synced(result) => {
                let result = self.info(result);
                self.activation.handle_sync(id, result);
            }
            Answer::Deregistered(result) => {
                let result = self.info(result);
                self.activation.handle_deregistration(id, result);
            }
        }
        self.settle().await
    }

    /// The transport has said which address the device has now (RSH8i).
    async fn verified(&mut self, answer: Answer) -> Result<()> {
        self.verification = None;
        match answer {
            // The device was deregistered meanwhile: it has no address.
            _ if !self.is_registered() => {}
            Answer::Address(Ok(address)) => {
                if self.activation.device().push.recipient != address {
                    self.activation.details_changed(address);
                }
            }
            Answer::Address(Err(error)) => {
                tracing::warn!(error = %error.logged(), "the address of the push device is not known");
                self.activation.details_failed(error.into_info());
            }
            Answer::Registered(_) | Answer::Synced(_) | Answer::Deregistered(_) => {}
        }
        self.settle().await
    }

    /// Whether the device is registered and not about to be deregistered.
    fn is_registered(&self) -> bool {
        match self.activation.state() {
            ActivationState::WaitingForNewPushDeviceDetails
            | ActivationState::WaitingForRegistrationSync(_)
            | ActivationState::AfterRegistrationSyncFailed => true,
            ActivationState::NotActivated
            | ActivationState::WaitingForPushDeviceDetails
            | ActivationState::WaitingForDeviceRegistration
            | ActivationState::WaitingForDeregistration(_) => false,
        }
    }

    /// The result of a request for the machine.
    fn info<T>(&mut self, result: Result<T>) -> Result<T, ErrorInfo> {
        result.map_err(|error| {
            self.error = Some(error.clone());
            error.into_info()
        })
    }

    /// An error from the machine, with what the program can do about it.
    fn error(&self, info: ErrorInfo) -> Error {
        let error = match &self.error {
            Some(error) if *error.info() == info => error.clone(),
            Some(_) | None => Error::from(info),
        };
        match error.code() {
            ErrorCode::DEVICE_REGISTRATION_CLIENT_ID_MISMATCH | ErrorCode::INVALID_CREDENTIAL => {
                error.with_remedy(
                    "call `deactivate`, which removes this device, and then `activate` again",
                )
            }
            _ => error,
        }
    }

    /// Stores the device if it has changed, and then carries out the outputs of the machine.
    async fn settle(&mut self) -> Result<()> {
        let content = self.activation.encode();
        if content != self.stored {
            store(&self.device.options, self.turn, content.clone()).await?;
            self.stored = content;
        }
        let device = self.activation.device();
        *self.pipeline.device() = (!device.id.is_empty()).then(|| device.clone());
        for reply in self.calls.stored.drain(..) {
            let _ = reply.send(Ok(()));
        }
        while let Some(output) = self.activation.poll_output() {
            match output {
                PushOutput::Request(id, request) => {
                    self.request = Some((id, self.begin(request)));
                }
                PushOutput::Abandon(id) => drop(self.request.take_if(|(own, _)| *own == id)),
                PushOutput::Done(call, result) => {
                    if let Some(reply) = self.calls.waiting.remove(&call) {
                        let _ = reply.send(result.map_err(|info| self.error(info)));
                    }
                }
                PushOutput::Updated(result) => {
                    self.updated(result.map_err(|info| self.error(info)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn begin(&self, request: PushRequest) -> BoxFuture<'static, Answer> {
        if request == PushRequest::Details {
            self.device.begins_verification();
        }
        let device: LocalDevice = self.activation.device().clone();
        requests::begin(self.pipeline, &self.device.options, request, device)
    }

    /// Tells the program about a change of its registration.
    fn updated(&self, result: Result<()>) {
        if let Err(error) = &result {
            tracing::warn!(error = %error.logged(), "the service has not accepted a change of the push device");
        }
        if let Some(updated) = &self.device.options.updated {
            let called = catch_unwind(AssertUnwindSafe(|| updated(result)));
            if called.is_err() {
                tracing::error!("the callback for updates of the push device panicked");
            }
        }
    }
}

/// A new identity: a UUID of version 4, and 32 random bytes in base64 (RSH3a2b).
fn identity() -> Result<Identity> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let mut id: [u8; 16] = random::bytes()?;
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let id = u128::from_be_bytes(id);
    let id = format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        id >> 96,
        id >> 80 & 0xffff,
        id >> 64 & 0xffff,
        id >> 48 & 0xffff,
        id & 0xffff_ffff_ffff
    );
    let secret = BASE64_STANDARD.encode(random::bytes::<32>()?);
    Ok(Identity { id: id.into(), secret: secret.into() })
}

/// Loads the device on a thread for blocking work. Returns also what the storage has.
async fn load(
    options: &PushOptions,
    turn: &Arc<OwnedMutexGuard<()>>,
) -> Result<(PushActivation, Vec<u8>)> {
    let storage = Arc::clone(&options.storage);
    let loaded = blocking(turn, move || storage.load()).await?;
    let activation = PushActivation::restore(loaded.as_deref(), options.profile.clone());
    // A device that was never activated needs no storing.
    let stored = loaded.unwrap_or_else(|| activation.encode());
    Ok((activation, stored))
}

async fn store(
    options: &PushOptions,
    turn: &Arc<OwnedMutexGuard<()>>,
    content: Vec<u8>,
) -> Result<()> {
    let storage = Arc::clone(&options.storage);
    blocking(turn, move || storage.store(&content)).await
}

/// Runs a step of the storage. The step keeps the turn, so that it comes before the next episode also if this one is
/// dropped.
async fn blocking<T: Send + 'static>(
    turn: &Arc<OwnedMutexGuard<()>>,
    step: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let turn = Arc::clone(turn);
    let step = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        step()
    });
    step.map(|ended| {
        ended.unwrap_or_else(|error| {
            let message = "the storage of the push device has panicked";
            Err(Error::new(ErrorCode::INTERNAL_ERROR, 0, message).with_source(error))
        })
    })
    .await
}
