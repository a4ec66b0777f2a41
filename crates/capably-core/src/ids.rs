//! Typed ids: what arrives under an old one is dropped.

/// A channel of one client. The driver chooses the number, and never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

/// A transport the client asked for in [`Output::Open`](crate::Output::Open).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(pub(crate) u64);

/// A token the client asked for in [`Output::RequestToken`](crate::Output::RequestToken).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthId(pub(crate) u64);

/// A check that the client asked for in [`Output::CheckConnectivity`](crate::Output::CheckConnectivity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckId(pub(crate) u64);

/// An operation of the user. The driver chooses the number; it comes back once, in
/// [`Event::Done`](crate::Event::Done), and may then be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);
