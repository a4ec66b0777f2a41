//! Where the address of a device comes from.

use super::PushRecipient;
use crate::{Result, http::BoxFuture};

/// Gives a device its address: the token of the platform's push service, with the kind of transport (RSH3a2d).
///
/// A [`PushRecipient`] is a transport whose address never changes. A function that returns a future can be one as well:
/// see [`PushOptions::new`](super::PushOptions::new).
///
/// ```
/// use capably::{Error, ErrorCode, Result};
/// use capably::{http::BoxFuture, push::{PushRecipient, PushTransport}};
///
/// # async fn firebase_token() -> Option<String> { None }
/// #[derive(Debug)]
/// struct Firebase;
///
/// impl PushTransport for Firebase {
///     fn recipient(&self) -> BoxFuture<'static, Result<PushRecipient>> {
///         Box::pin(async {
///             // Asks the platform, and the user if the program may show notifications.
///             let token = firebase_token().await;
///             let denied = || Error::new(ErrorCode::BAD_REQUEST, 0, "the user does not allow it");
///             Ok(PushRecipient::fcm(token.ok_or_else(denied)?))
///         })
///     }
/// }
/// ```
pub trait PushTransport: Send + Sync + 'static {
    /// Asks the platform for the address of the device. The SDK calls this when a device is activated, and once in a
    /// process for a device that is active already, to see whether its address is still the same (RSH8i). If the platform
    /// gives the program a new address by itself, pass it to [`Push::update_recipient`](super::Push::update_recipient).
    ///
    /// # Errors
    /// If there is no address. The activation fails with this error (RSH8h).
    fn recipient(&self) -> BoxFuture<'static, Result<PushRecipient>>;
}

/// An address that never changes.
impl PushTransport for PushRecipient {
    fn recipient(&self) -> BoxFuture<'static, Result<PushRecipient>> {
        let recipient = self.clone();
        Box::pin(async { Ok(recipient) })
    }
}

impl<F, R> PushTransport for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<PushRecipient>> + Send + 'static,
{
    fn recipient(&self) -> BoxFuture<'static, Result<PushRecipient>> {
        Box::pin(self())
    }
}
