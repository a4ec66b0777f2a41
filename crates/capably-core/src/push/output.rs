//! What the activation wants of its driver.

use capably_protocol::ErrorInfo;

/// A call of `activate` or `deactivate`. The driver chooses the number, and does not use it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushCallId(pub u64);

/// A request of the activation. Its result counts only while the activation waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushRequestId(pub(super) u64);

/// A step for the driver.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PushOutput {
    /// Perform this request, and report its result with this id.
    Request(PushRequestId, PushRequest),
    /// The result of this request does not matter any more.
    Abandon(PushRequestId),
    /// A call of `activate` or `deactivate` ends.
    Done(PushCallId, Result<(), ErrorInfo>),
    /// A change of the device has reached the service, or has not (RSH3e2c, RSH3e3d).
    Updated(Result<(), ErrorInfo>),
}

/// A request of the activation, with the method that takes its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushRequest {
    /// Ask the platform for the address of the device (RSH3a2d); [`handle_details`](super::PushActivation::handle_details).
    Details,
    /// Register the device (RSH3b3); [`handle_registration`](super::PushActivation::handle_registration).
    Register,
    /// Send all details of the registered device (RSH3a2a); [`handle_sync`](super::PushActivation::handle_sync).
    Validate,
    /// Send the changed details of the registered device (RSH3d3); [`handle_sync`](super::PushActivation::handle_sync).
    Update {
        /// Whether the address has changed.
        address: bool,
        /// Whether the client id has changed (RSH8e).
        client_id: bool,
    },
    /// Remove the registration (RSH3d2); [`handle_deregistration`](super::PushActivation::handle_deregistration).
    Deregister,
}
