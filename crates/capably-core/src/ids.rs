//! Typed ids. An answer under an outdated id is ignored, so late answers do no harm.

/// A channel of one client. The driver chooses the number, and never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

/// A transport that the client requested with [`Output::Open`](crate::Output::Open).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(pub(crate) u64);

/// A token that the client requested with [`Output::RequestToken`](crate::Output::RequestToken).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthId(pub(crate) u64);

/// A check that the client requested with [`Output::CheckConnectivity`](crate::Output::CheckConnectivity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub(crate) u64);

/// An operation of the application. The driver chooses the number. It comes back once, in
/// [`Event::Done`](crate::Event::Done), and may then be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);
