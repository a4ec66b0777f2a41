//! Counters of a connection.

/// Counters of a connection since its client was made; see [`Connection::metrics`](super::Connection::metrics). They
/// only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionMetrics {
    /// Attempts to open a transport.
    pub attempts: u64,
    /// Attempts that went to fallback domains (RTN17).
    pub fallbacks: u64,
    /// How often the connection was established.
    pub connected: u64,
    /// How often it was resumed without loss of continuity (RTN15c6).
    pub resumed: u64,
    /// How often an attempt failed or an established connection was lost.
    pub disconnected: u64,
    /// How often the connection became SUSPENDED (RTN14e), including failed attempts while suspended.
    pub suspended: u64,
    /// Requests for new tokens (RSA4).
    pub tokens: u64,
}
