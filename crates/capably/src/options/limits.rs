//! Options for times and sizes (TO3l).

use std::time::Duration;

use super::ClientOptions;

/// Times and sizes.
impl ClientOptions {
    /// How long to wait in DISCONNECTED before connecting again; 15 s by default (TO3l1).
    #[must_use]
    pub fn disconnected_retry_timeout(mut self, timeout: Duration) -> Self {
        self.disconnected_retry_timeout = timeout;
        self
    }

    /// How long to wait in SUSPENDED before connecting again; 30 s by default (TO3l2).
    #[must_use]
    pub fn suspended_retry_timeout(mut self, timeout: Duration) -> Self {
        self.suspended_retry_timeout = timeout;
        self
    }

    /// How long a suspended channel waits before attaching again; 15 s by default (TO3l7).
    #[must_use]
    pub fn channel_retry_timeout(mut self, timeout: Duration) -> Self {
        self.channel_retry_timeout = timeout;
        self
    }

    /// How long opening an HTTP connection may take, TLS included; 4 s by default (TO3l3).
    #[must_use]
    pub fn http_open_timeout(mut self, timeout: Duration) -> Self {
        self.http_open_timeout = timeout;
        self
    }

    /// How long one HTTP request and its response may take; 10 s by default (TO3l4).
    #[must_use]
    pub fn http_request_timeout(mut self, timeout: Duration) -> Self {
        self.http_request_timeout = timeout;
        self
    }

    /// How long to wait for the reply to a realtime request, such as connect, attach or close; 10 s by default
    /// (TO3l11).
    #[must_use]
    pub fn realtime_request_timeout(mut self, timeout: Duration) -> Self {
        self.realtime_request_timeout = timeout;
        self
    }

    /// How many fallback hosts to try for one HTTP request; 3 by default (TO3l5).
    #[must_use]
    pub fn http_max_retry_count(mut self, count: usize) -> Self {
        self.http_max_retry_count = count;
        self
    }

    /// How long to try fallback hosts for one HTTP request; 15 s by default (TO3l6).
    #[must_use]
    pub fn http_max_retry_duration(mut self, duration: Duration) -> Self {
        self.http_max_retry_duration = duration;
        self
    }

    /// How long to prefer a fallback host that worked; 10 minutes by default (TO3l10).
    #[must_use]
    pub fn fallback_retry_timeout(mut self, timeout: Duration) -> Self {
        self.fallback_retry_timeout = timeout;
        self
    }

    /// The largest publish, in bytes as counted by TM6; 65,536 by default (TO3l8). On realtime connections the
    /// service's limit replaces it (CD2c).
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// The largest request body or frame, in bytes; 524,288 by default (TO3l9). Larger ones are refused with code
    /// 40009. For a realtime client the service's limit replaces it (CD2d).
    #[must_use]
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = bytes;
        self
    }
}
