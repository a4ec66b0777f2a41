//! The calls of a program as a push device, and how they reach an episode.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use capably_core::push::LocalDevice;
use capably_protocol::{ErrorCode, JsonObject};
use futures_util::future::select;
use tokio::sync::{mpsc, oneshot};

use super::{PushOptions, PushRecipient, episode};
use crate::{
    Error, Result,
    auth::calling,
    http::BoxFuture,
    rest::{Pipeline, Push},
    sync::lock,
};

/// The program as a push device. `activate`, `deactivate` and the others need the option
/// [`push`](crate::ClientOptions::push).
impl Push {
    /// Registers the program as a push device when awaited (RSH2a). An active device stays what it is.
    ///
    /// The registration is stored, and survives restarts. Call this at each start of the program that wants pushes: it
    /// finishes what an earlier process has begun, and sends a new address of the device to the service. If the call is
    /// dropped, the activation goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = capably_server::Server::builder().start().await?;
    /// # let options = capably::ClientOptions::new(server.key())
    /// #     .endpoint(server.endpoint()).port(server.port()).tls(false);
    /// # let key = server.key();
    /// use capably::{DevicePlatform, Rest};
    /// use capably::push::{MemoryPushStorage, PushOptions, PushRecipient};
    ///
    /// // Pushes arrive as messages on a channel: see `PushRecipient` for those of platforms.
    /// let address = PushRecipient::ably_channel("inbox", key);
    /// let push = PushOptions::new(DevicePlatform::Android, MemoryPushStorage::new(), address);
    /// let rest = Rest::new(options.push(push))?;
    /// rest.push().activate().await?;
    /// let device = rest.push().device().await?;
    /// assert!(device.is_registered());
    ///
    /// rest.push().deactivate().await?;
    /// assert!(!rest.push().device().await?.is_registered());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - 40000 without the option `push`, or if a call of `deactivate` comes first;
    /// - 61002 if the device is registered for another client id (RSH3a2a1): call `deactivate`, and then `activate`;
    /// - 40005 if the service knows the device with another secret, or does not know a registered device any more: call
    ///   `deactivate`, and then `activate`;
    /// - 40160 without the capability `push-subscribe` or `push-admin`;
    /// - 50003 if the transport or a callback takes too long; their own errors;
    /// - 50000 or the error of the storage; the service's reason.
    pub fn activate(&self) -> BoxFuture<'static, Result<()>> {
        call(self.pipeline(), Command::Activate)
    }

    /// Removes the registration of the device when awaited, and clears the device (RSH2b). It needs no other credentials
    /// than those of the device. A registration that the service does not know any more is no error.
    ///
    /// # Errors
    /// Code 40000 without the option `push`; the errors of the callback and of the storage; the service's reason. After an
    /// error the device is still active.
    pub fn deactivate(&self) -> BoxFuture<'static, Result<()>> {
        call(self.pipeline(), Command::Deactivate)
    }

    /// Gives the device a new address when awaited: the platform has refreshed its token (RSH8g). If the device is active,
    /// the service gets the address afterwards, and
    /// [`updated_callback`](PushOptions::updated_callback) the result.
    ///
    /// # Errors
    /// Code 40000 for an empty address, and without the option `push`; the errors of the storage.
    pub fn update_recipient(
        &self,
        recipient: impl Into<PushRecipient>,
    ) -> BoxFuture<'static, Result<()>> {
        match recipient.into().into_address() {
            Ok(address) => {
                call(self.pipeline(), move |reply| Command::NewAddress(address.clone(), reply))
            }
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    /// The program as a push device when awaited, as it is stored (RSH8). Before the first activation and after a
    /// deactivation it has no id.
    ///
    /// # Errors
    /// Code 40000 without the option `push`; the errors of the storage.
    pub fn device(&self) -> BoxFuture<'static, Result<LocalDevice>> {
        call(self.pipeline(), Command::Device)
    }
}

/// The push device of a client's options.
pub(crate) struct PushDevice {
    pub(super) options: PushOptions,
    /// The commands to the running episode, if one is running.
    commands: Mutex<Option<mpsc::UnboundedSender<Command>>>,
    /// Whether this process has the address from the transport, or has begun to compare it (RSH8i).
    verified: AtomicBool,
}

/// A call, with the end of it.
pub(super) enum Command {
    Activate(Reply<()>),
    Deactivate(Reply<()>),
    NewAddress(JsonObject, Reply<()>),
    Device(Reply<LocalDevice>),
    /// The client may be identified by now (RSH8d).
    Identified,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

impl Command {
    /// Ends the call with an error.
    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Activate(reply) | Self::Deactivate(reply) | Self::NewAddress(_, reply) => {
                let _ = reply.send(Err(error));
            }
            Self::Device(reply) => drop(reply.send(Err(error))),
            Self::Identified => {}
        }
    }
}

impl PushDevice {
    pub(crate) fn new(options: PushOptions) -> Self {
        Self { options, commands: Mutex::default(), verified: AtomicBool::new(false) }
    }

    /// The device, after the client may have become identified.
    ///
    /// # Errors
    /// The errors of the storage.
    pub(crate) async fn load(pipeline: &Arc<Pipeline>) -> Result<LocalDevice> {
        call(pipeline, Command::Device).await
    }

    /// The client may be identified by now: a device that is in use gets its client id (RSH8d).
    pub(crate) fn identified(&self, pipeline: &Pipeline) {
        let needs_client_id = {
            let device = pipeline.device();
            device.as_ref().is_some_and(|device| device.client_id.is_none())
        };
        let is_identified = pipeline.session().client_id().is_some_and(|id| id != "*");
        if needs_client_id && is_identified && tokio::runtime::Handle::try_current().is_ok() {
            self.submit(pipeline, Command::Identified);
        }
    }

    /// Whether the address is still to be compared with that of the transport. It counts as compared from now on.
    pub(super) fn begins_verification(&self) -> bool {
        !self.verified.swap(true, Ordering::Relaxed)
    }

    /// Sends a command to the running episode, or begins one.
    fn submit(&self, pipeline: &Pipeline, command: Command) {
        let mut commands = lock(&self.commands);
        let command = match commands.as_ref() {
            None => command,
            Some(episode) => match episode.send(command) {
                Ok(()) => return,
                // The runtime of the episode has ended.
                Err(mpsc::error::SendError(command)) => command,
            },
        };
        let (sender, received) = mpsc::unbounded_channel();
        let _ = sender.send(command);
        *commands = Some(sender);
        let (pipeline, gone) = pipeline.outlived();
        let work = async move {
            select(pin!(episode::run(Arc::new(pipeline), received)), pin!(gone)).await;
        };
        // The task inherits the caller, so that an auth callback that needs its own token is detected.
        tokio::spawn(calling::led_to_by(calling::callers(), work));
    }

    /// Ends the running episode, unless a command has arrived meanwhile.
    pub(super) fn end_episode(&self, commands: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut sender = lock(&self.commands);
        if !commands.is_empty() {
            return false;
        }
        *sender = None;
        true
    }
}

/// Makes a call when awaited, and waits for its end.
fn call<T: Send + 'static>(
    pipeline: &Arc<Pipeline>,
    command: impl Fn(Reply<T>) -> Command + Send + Sync + 'static,
) -> BoxFuture<'static, Result<T>> {
    let pipeline = Arc::clone(pipeline);
    Box::pin(async move {
        pipeline.require_runtime()?;
        let Some(device) = pipeline.push_device() else {
            let message = "the client is no push device: it has no option `push`";
            return Err(Error::new(ErrorCode::BAD_REQUEST, 400, message)
                .with_remedy("configure the device with `ClientOptions::push`"));
        };
        // The transport, the callback and a request for the device, each after those of another call.
        let limit =
            device.options.callback_timeout.saturating_add(pipeline.patience()).saturating_mul(4);
        // A second episode, here, does what an episode in another runtime could not end.
        for _ in 0..2 {
            let (reply, result) = oneshot::channel();
            device.submit(&pipeline, command(reply));
            match tokio::time::timeout(limit, result).await {
                Ok(Ok(result)) => return result,
                Ok(Err(_)) => {}
                Err(_) => {
                    let message = format!("the push device was not ready within {limit:?}");
                    return Err(Error::new(ErrorCode::TIMEOUT_ERROR, 0, message));
                }
            }
        }
        let message = "the runtime in which the push device was used has ended";
        Err(Error::new(ErrorCode::INTERNAL_ERROR, 0, message)
            .with_remedy("make the call again, in a runtime that lives until it ends"))
    })
}
