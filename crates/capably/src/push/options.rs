//! The options of a device.

use std::{fmt, sync::Arc, time::Duration};

use capably_core::push::DeviceProfile;
use capably_protocol::{DeviceFormFactor, DevicePlatform, Str};

use super::{LocalDevice, PushStorage, PushTransport};
use crate::{ClientOptions, Result, http::BoxFuture};

/// Registers a device, and returns its `deviceIdentityToken`.
pub(super) type Register = dyn Fn(LocalDevice) -> BoxFuture<'static, Result<Str>> + Send + Sync;
/// Removes the registration of the device with this id.
pub(super) type Deregister = dyn Fn(Str) -> BoxFuture<'static, Result<()>> + Send + Sync;
/// Learns the result of an update.
pub(super) type Updated = dyn Fn(Result<()>) + Send + Sync;

/// The options of the program as a push device: its platform, where it is stored, and where its address comes from.
///
/// Clones share one device. Clients with clones of the same options may be used at the same time; what concerns the
/// device then happens one after the other.
///
/// ```
/// use capably::{ClientOptions, DeviceFormFactor, DevicePlatform};
/// use capably::push::{FilePushStorage, PushOptions, PushRecipient};
///
/// # async fn firebase_token() -> capably::Result<String> { Ok(String::new()) }
/// let storage = FilePushStorage::new("/var/lib/app/push-device");
/// let push = PushOptions::new(DevicePlatform::Android, storage, || async {
///     Ok(PushRecipient::fcm(firebase_token().await?))
/// });
/// let push = push.form_factor(DeviceFormFactor::Phone).metadata("model", "X1");
/// let options = ClientOptions::new("app.key:secret").push(push);
/// ```
#[derive(Clone)]
pub struct PushOptions {
    pub(super) profile: DeviceProfile,
    pub(super) storage: Arc<dyn PushStorage>,
    pub(super) transport: Arc<dyn PushTransport>,
    pub(super) register: Option<Arc<Register>>,
    pub(super) deregister: Option<Arc<Deregister>>,
    pub(super) updated: Option<Arc<Updated>>,
    pub(super) callback_timeout: Duration,
    /// The right to use the storage, for one episode at a time.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

impl PushOptions {
    /// A device of this platform (PCD6), which is kept in this storage and gets its address from this transport: a
    /// [`PushRecipient`](super::PushRecipient), a function that returns a future of one, or your own [`PushTransport`].
    ///
    /// Use a storage for one device only: other options with the same storage would overwrite it.
    pub fn new(
        platform: DevicePlatform,
        storage: impl PushStorage,
        transport: impl PushTransport,
    ) -> Self {
        Self {
            profile: DeviceProfile {
                platform: Some(platform),
                form_factor: Some(DeviceFormFactor::Other),
                ..DeviceProfile::default()
            },
            storage: Arc::new(storage),
            transport: Arc::new(transport),
            register: None,
            deregister: None,
            updated: None,
            callback_timeout: Duration::from_secs(60),
            turn: Arc::default(),
        }
    }

    /// Sets the form of the device; `other` by default (PCD4).
    #[must_use]
    pub fn form_factor(mut self, form_factor: DeviceFormFactor) -> Self {
        self.profile.form_factor = Some(form_factor);
        self
    }

    /// Adds a detail of the device, for the program's own use (PCD5). It reaches the service with the registration.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.profile.metadata.insert(name.into(), value.into());
        self
    }

    /// Registers the device with this function instead of a request to the service (RSH3b3a). For programs whose own
    /// server registers their devices, so that they need no right to do it.
    ///
    /// The function gets the device, with its `device_secret`. Its result is the `deviceIdentityToken` that the service
    /// has returned for the device. The SDK also calls the function to update a registered device (RSH3a2a2, RSH3d3a), and
    /// again after a crash in the middle: the same device may be registered more than once.
    #[must_use]
    pub fn register_callback<F, R>(mut self, register: F) -> Self
    where
        F: Fn(LocalDevice) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Str>> + Send + 'static,
    {
        self.register = Some(Arc::new(move |device| Box::pin(register(device))));
        self
    }

    /// Removes the registration of the device, by its id, with this function instead of a request to the service
    /// (RSH3d2a). It may be called again after a crash: an unknown device is no error.
    #[must_use]
    pub fn deregister_callback<F, R>(mut self, deregister: F) -> Self
    where
        F: Fn(Str) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.deregister = Some(Arc::new(move |id| Box::pin(deregister(id))));
        self
    }

    /// Calls this function when a change of the registered device has reached the service, or has not (RSH3e2c, RSH3e3d):
    /// of its address, or of its client id. It must not block.
    #[must_use]
    pub fn updated_callback(
        mut self,
        updated: impl Fn(Result<()>) + Send + Sync + 'static,
    ) -> Self {
        self.updated = Some(Arc::new(updated));
        self
    }

    /// Sets how long the transport and the callbacks that register and deregister may take; 60 s by default. After that
    /// the call that waits fails with 50003.
    #[must_use]
    pub fn callback_timeout(mut self, limit: Duration) -> Self {
        self.callback_timeout = limit;
        self
    }
}

impl fmt::Debug for PushOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushOptions")
            .field("profile", &self.profile)
            .field("storage", &self.storage)
            .field("register_callback", &self.register.is_some())
            .field("deregister_callback", &self.deregister.is_some())
            .field("updated_callback", &self.updated.is_some())
            .field("callback_timeout", &self.callback_timeout)
            .finish_non_exhaustive()
    }
}

/// The program as a push device.
impl ClientOptions {
    /// Lets the client activate the program as a push device; see [the guide](crate::guide::push_devices). By default a
    /// client only administers other devices.
    #[must_use]
    pub fn push(mut self, push: PushOptions) -> Self {
        self.push = Some(push);
        self
    }
}
