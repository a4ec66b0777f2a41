//! Counts of what a connection has been through.

/// What a connection has been through since its client was made; see
/// [`Connection::metrics`](super::Connection::metrics). The counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionMetrics {
    /// Transports that were opened, or tried to be.
    pub attempts: u64,
    /// Of these, to fallback domains (RTN17).
    pub fallbacks: u64,
    /// How often the connection was established.
    pub connected: u64,
    /// Of these, without loss of continuity (RTN15c6).
    pub resumed: u64,
    /// How often an attempt failed, or an established connection was lost.
    pub disconnected: u64,
    /// How often the connection was suspended (RTN14e), failed attempts while it was included.
    pub suspended: u64,
    /// Tokens that were asked for and were not at hand (RSA4).
    pub tokens: u64,
}
