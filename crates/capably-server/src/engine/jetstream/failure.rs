//! The errors of brokers, and the engine errors that they become.

use std::{fmt, sync::Arc};

use super::super::{Bucket, EngineError};

/// The advice when the brokers do not commit. A broker whose disk is full does not say so to others; it only stops.
pub(super) const CHECK: &str =
    "check that most brokers run, reach each other, and have room on their disks";

/// A request that failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No answer came in time.
    TimedOut,
    /// No broker answers requests to the subject: JetStream is off, or the stream has no leader.
    NoResponders,
    /// A broker refused the request.
    Refused {
        /// The status, as in HTTP.
        status: u16,
        /// The code of the error.
        code: u32,
        /// The broker's words.
        description: String,
    },
    /// The connection failed, or the answer is not one.
    Odd(String),
}

/// Codes of errors: `server/errors.json` of nats-server.
mod code {
    pub(super) const NO_MESSAGE: u32 = 10037;
    pub(super) const STREAM_NOT_FOUND: u32 = 10059;
    pub(super) const STREAM_NAME_IN_USE: u32 = 10058;
    pub(super) const NOT_ENABLED: u32 = 10076;
    pub(super) const NOT_ENABLED_FOR_ACCOUNT: u32 = 10039;
    pub(super) const WRONG_LAST_SEQUENCE: u32 = 10071;
    pub(super) const WRONG_LAST_SEQUENCE_OF_SUBJECT: u32 = 10164;
    pub(super) const STORE_FAILED: u32 = 10077;
    pub(super) const NO_RESOURCES: u32 = 10023;
    pub(super) const MEMORY_EXCEEDED: u32 = 10028;
    pub(super) const STORAGE_EXCEEDED: u32 = 10047;
    pub(super) const ACCOUNT_EXCEEDED: u32 = 10002;
    pub(super) const TOO_LARGE: u32 = 10054;
    pub(super) const ID_IN_PROCESS: u32 = 10158;
    pub(super) const NO_PEERS: u32 = 10005;
    pub(super) const TOO_MANY_STREAMS: u32 = 10027;
    pub(super) const NOT_CLUSTERED: u32 = 10074;
}

impl Failure {
    pub(super) fn odd(error: &dyn fmt::Display) -> Self {
        Self::Odd(error.to_string())
    }

    fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::TimedOut | Self::NoResponders | Self::Odd(_) => None,
        }
    }

    /// Whether there is no such message.
    pub(super) fn is_absent(&self) -> bool {
        self.code() == Some(code::NO_MESSAGE)
    }

    /// Whether there is no such stream.
    pub(super) fn is_no_stream(&self) -> bool {
        self.code() == Some(code::STREAM_NOT_FOUND)
    }

    /// Whether another node has created the stream meanwhile.
    pub(super) fn is_created_already(&self) -> bool {
        self.code() == Some(code::STREAM_NAME_IN_USE)
    }

    /// Whether a subject has another last sequence than the publisher expects.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(
            self.code(),
            Some(code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_OF_SUBJECT)
        )
    }

    /// Whether the limits of the stream, the account or the broker's disk leave no room.
    pub(super) fn is_full(&self) -> bool {
        matches!(
            self.code(),
            Some(
                code::STORE_FAILED
                    | code::NO_RESOURCES
                    | code::MEMORY_EXCEEDED
                    | code::STORAGE_EXCEEDED
                    | code::ACCOUNT_EXCEEDED
            )
        )
    }

    /// Whether the stream has reached its own limit, which brokers check before they store anything.
    ///
    /// The limits of accounts and brokers are different: a broker that passes one has stored the message, and removes it
    /// again. A disk without room fails while the message is written.
    fn is_stream_full(&self) -> bool {
        matches!(
            self,
            Self::Refused { code: code::STORE_FAILED, description, .. }
                if description.contains("maximum bytes exceeded")
        )
    }

    /// Whether the same request can succeed later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::TimedOut | Self::NoResponders | Self::Odd(_) => true,
            // An earlier attempt with this id is not committed yet.
            Self::Refused { code: code::ID_IN_PROCESS, .. } => true,
            Self::Refused { status, code, .. } => {
                *status == 503
                    && !self.is_full()
                    && !matches!(
                        *code,
                        code::NOT_ENABLED | code::NOT_ENABLED_FOR_ACCOUNT | code::NOT_CLUSTERED
                    )
            }
        }
    }

    /// The error to report, with the advice that fits.
    pub(super) fn error(self) -> EngineError {
        if self.is_full() {
            let reason = format!(
                "JetStream refuses more ({self}); raise its limits or the size of its disk"
            );
            // `Full` says that nothing was stored.
            return if self.is_stream_full() { EngineError::Full(reason) } else { setup(reason) };
        }
        match self.code() {
            Some(code::NOT_ENABLED | code::NOT_ENABLED_FOR_ACCOUNT) => setup(format!(
                "JetStream is off ({self}); start nats-server with -js, and enable JetStream for the account"
            )),
            Some(code::TOO_LARGE) => setup(format!(
                "an entry is larger than the brokers allow ({self}); raise max_payload of nats-server"
            )),
            Some(code::NOT_CLUSTERED) => setup(few_brokers(&self)),
            // Brokers that have just started do not know each other yet.
            Some(code::NO_PEERS) => EngineError::Unavailable(few_brokers(&self)),
            Some(code::TOO_MANY_STREAMS) => setup(format!(
                "the account allows too few streams ({self}); allow {} more for it",
                Bucket::ALL.len() + 1
            )),
            _ => match self {
                Self::TimedOut => {
                    EngineError::Unavailable(format!("JetStream does not answer; {CHECK}"))
                }
                Self::NoResponders => EngineError::Unavailable(format!(
                    "JetStream has no leader; check that nats-server runs with -js, and {CHECK}"
                )),
                Self::Refused { status: 503, .. }
                | Self::Refused { code: code::ID_IN_PROCESS, .. } => {
                    EngineError::Unavailable(format!("JetStream is not ready: {self}"))
                }
                Self::Refused { .. } => setup(format!("JetStream refuses a request: {self}")),
                Self::Odd(reason) => EngineError::Unavailable(reason),
            },
        }
    }
}

fn few_brokers(failure: &Failure) -> String {
    format!(
        "there are fewer brokers than replicas ({failure}); start more brokers or use fewer replicas"
    )
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer"),
            Self::NoResponders => f.write_str("no responders"),
            Self::Refused { code, description, .. } => write!(f, "{description}, error {code}"),
            Self::Odd(reason) => f.write_str(reason),
        }
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        failure.error()
    }
}

/// A reason that only a change of the configuration removes.
#[derive(Debug)]
struct Setup(String);

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Setup {}

/// An error that only a change of the configuration removes.
pub(super) fn setup(reason: String) -> EngineError {
    EngineError::Other(Arc::new(Setup(reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_limit_of_the_stream_is_certain() {
        let error = |code, description: &str| {
            let description = description.to_owned();
            Failure::Refused { status: 503, code, description }.error()
        };
        let full = error(code::STORE_FAILED, "maximum bytes exceeded");
        assert!(matches!(full, EngineError::Full(_)), "{full:?}");
        for (code, description) in [
            (code::STORE_FAILED, "write 1.blk: no space left on device"),
            (code::ACCOUNT_EXCEEDED, "resource limits exceeded for account"),
            (code::NO_RESOURCES, "insufficient resources"),
        ] {
            let uncertain = error(code, description);
            assert!(!uncertain.is_certain(), "{uncertain:?}");
            let text = uncertain.to_string();
            assert!(text.contains(description) && text.contains("raise its limits"), "{text}");
        }
    }
    #[test]
    fn brokers_that_do_not_know_each_other_yet_are_asked_again() {
        let error = |code| {
            let description = "no suitable peers for placement".to_owned();
            Failure::Refused { status: 400, code, description }.error()
        };
        let early = error(code::NO_PEERS);
        assert!(matches!(early, EngineError::Unavailable(_)), "{early:?}");
        assert!(early.to_string().contains("start more brokers"), "{early}");
        assert!(matches!(error(code::NOT_CLUSTERED), EngineError::Other(_)));
    }
}
