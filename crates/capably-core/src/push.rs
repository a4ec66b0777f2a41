//! Push activation as a pure state machine (RSH3, RSH8).
//!
//! A [`PushActivation`] registers the program as a push device, keeps the registration up to date, and removes it. Its
//! life is longer than that of a process: what it must remember is stored, and a later process goes on from there.

mod activation;
mod device;
mod event;
mod output;
mod stored;

pub use activation::{Identity, PushActivation};
pub use device::{DeviceProfile, LocalDevice};
pub use event::{ActivationState, BeforeDeregistration, DeviceRegistration, SyncCause};
pub use output::{PushCallId, PushOutput, PushRequest, PushRequestId};
pub use stored::MAX_STORED;
