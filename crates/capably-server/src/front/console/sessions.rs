//! The sessions of the console: who may see and do what.
//!
//! A session begins with the one-time token of the URL that the operator was shown, or with a key of an app.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use capably_protocol::{Capability, ErrorCode, ErrorInfo, Operation, Str};
use sha2::{Digest, Sha256};

use crate::hub::{error, secret::Secret};

/// How long a session lasts.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Most sessions. The one that ends first makes room for a new one.
const MAX_SESSIONS: usize = 1000;

/// A client may be wrong this often in [`WINDOW`].
const MAX_FAILURES: u32 = 10;

/// The time after which the failures of a client are forgotten.
const WINDOW: Duration = Duration::from_secs(60);

/// Most clients whose failures are counted.
const MAX_CLIENTS: usize = 4096;

/// A session of the console.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) app: String,
    pub(super) key_id: Str,
    pub(super) capability: Arc<Capability>,
    /// Whether it may operate its app: list and cut connections, and record frames.
    pub(super) is_operator: bool,
    /// Whether it may also do what concerns the whole server, such as faults.
    pub(super) has_server: bool,
    /// By the steady clock.
    pub(super) expires: Duration,
}

impl Session {
    /// # Errors
    /// Code 40160 with status 403 unless it is an operator's.
    pub(super) fn require_operator(&self) -> Result<(), ErrorInfo> {
        if self.is_operator {
            return Ok(());
        }
        Err(denied(
            "this needs the capability {\"*\":[\"*\"]}, which the key of the session does not have",
        ))
    }

    /// # Errors
    /// Code 40160 with status 403 unless it is that of the server's operator.
    pub(super) fn require_server(&self) -> Result<(), ErrorInfo> {
        self.require_operator()?;
        if self.has_server {
            return Ok(());
        }
        Err(denied(
            "this concerns the whole server: sign in with the key of its first app, or with the URL that it has printed",
        ))
    }

    /// # Errors
    /// Code 40160 with status 403 unless the capability has the operation for some channel.
    pub(super) fn require_anywhere(&self, operation: &Operation) -> Result<(), ErrorInfo> {
        if self.capability.allows_anywhere(operation) {
            return Ok(());
        }
        Err(denied(format!(
            "this needs the capability `{}`, which the key of the session does not have",
            operation.as_str()
        )))
    }
}

fn denied(message: impl Into<Str>) -> ErrorInfo {
    ErrorInfo::new(ErrorCode(40160), 403, message)
}

/// All sessions. It has secrets, and no `Debug` shows them.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The one-time token, until it is used.
    token: Mutex<Option<Secret>>,
    /// By the digest of their secret. A look-up takes a time that depends on the digest, of which an attacker who does not
    /// know the secret learns nothing.
    sessions: Mutex<HashMap<[u8; 32], Arc<Session>>>,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

/// The failed attempts of a client.
#[derive(Debug)]
struct Failures {
    count: u32,
    /// The time of the first, by the steady clock.
    since: Duration,
}

impl Sessions {
    pub(super) fn new(token: Secret) -> Self {
        Self {
            token: Mutex::new(Some(token)),
            sessions: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// The one-time token, unless it was used.
    pub(super) fn token(&self) -> Option<Secret> {
        lock(&self.token).clone()
    }

    /// Uses the one-time token.
    ///
    /// # Errors
    /// Code 40101 for a token that is wrong or was used.
    pub(super) fn use_token(&self, presented: &str) -> Result<(), ErrorInfo> {
        let mut token = lock(&self.token);
        if token.take_if(|token| token.is(presented)).is_some() {
            return Ok(());
        }
        Err(error::unauthorized(
            "the link of the console is wrong, or was used: sign in with a key, or restart the server for a new link",
        ))
    }

    /// Checks that the client has not been wrong too often.
    ///
    /// # Errors
    /// Code 42910 with status 429.
    pub(super) fn check_attempts(&self, client: IpAddr, now: Duration) -> Result<(), ErrorInfo> {
        let failures = lock(&self.failures);
        let Some(failed) = failures.get(&network(client)) else { return Ok(()) };
        let left = (failed.since + WINDOW).saturating_sub(now);
        if failed.count < MAX_FAILURES || left.is_zero() {
            return Ok(());
        }
        let message = format!("too many attempts: try again in {} s", left.as_secs() + 1);
        Err(ErrorInfo::new(ErrorCode(42910), 429, message))
    }

    /// Counts a failed attempt.
    pub(super) fn failed(&self, client: IpAddr, now: Duration) {
        let mut failures = lock(&self.failures);
        if failures.len() >= MAX_CLIENTS {
            failures.retain(|_, failed| failed.since + WINDOW > now);
            if failures.len() >= MAX_CLIENTS {
                failures.clear();
            }
        }
        let failed = failures.entry(network(client)).or_insert(Failures { count: 0, since: now });
        if failed.since + WINDOW <= now {
            *failed = Failures { count: 0, since: now };
        }
        failed.count += 1;
    }

    /// Adds a session with this secret.
    pub(super) fn add(&self, secret: &str, session: Session, now: Duration) {
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, session| session.expires > now);
        if sessions.len() >= MAX_SESSIONS {
            let first = sessions.iter().min_by_key(|(_, it)| it.expires).map(|(digest, _)| *digest);
            first.map(|digest| sessions.remove(&digest));
        }
        sessions.insert(digest(secret), Arc::new(session));
    }

    /// The session with this secret, unless it is over.
    pub(super) fn get(&self, secret: &str, now: Duration) -> Option<Arc<Session>> {
        let sessions = lock(&self.sessions);
        sessions.get(&digest(secret)).filter(|session| session.expires > now).cloned()
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// The address whose failures count together: a client with IPv6 has a whole network of 64 bits.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        address @ IpAddr::V4(_) => address,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn a_client_is_refused_after_ten_failures_for_a_minute() {
        let sessions = Sessions::new(Secret::new("token"));
        let (client, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..MAX_FAILURES {
            sessions.check_attempts(client, NOW).unwrap();
            sessions.failed(client, NOW);
        }
        let error = sessions.check_attempts(client, NOW).unwrap_err();
        assert_eq!((error.code.0, error.status_code), (42910, 429));
        sessions.check_attempts(other, NOW).unwrap();
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        sessions.check_attempts(mapped, NOW).unwrap_err();
        sessions.check_attempts(client, NOW + WINDOW).unwrap();
        sessions.failed(client, NOW + WINDOW);
        sessions.check_attempts(client, NOW + WINDOW).unwrap();
    }

    #[test]
    fn the_failures_of_a_network_of_ipv6_count_together() {
        let sessions = Sessions::new(Secret::new("token"));
        for host in 0..u128::from(MAX_FAILURES) {
            sessions.failed(IpAddr::V6((0x2001_0db8 << 96 | host).into()), NOW);
        }
        sessions.check_attempts("2001:db8::ffff".parse().unwrap(), NOW).unwrap_err();
        sessions.check_attempts("2001:db8:1::".parse().unwrap(), NOW).unwrap();
    }

    #[test]
    fn the_token_can_be_used_once_and_a_wrong_one_does_not_spend_it() {
        let sessions = Sessions::new(Secret::new("token"));
        assert_eq!(sessions.use_token("tokem").unwrap_err().code.0, 40101);
        sessions.use_token("token").unwrap();
        assert_eq!(sessions.use_token("token").unwrap_err().code.0, 40101);
        assert!(sessions.token().is_none());
    }

    #[test]
    fn a_session_ends_and_the_oldest_makes_room() {
        let sessions = Sessions::new(Secret::new("token"));
        let session = |expires| Session {
            app: "app".into(),
            key_id: "key".into(),
            capability: Arc::new(Capability::all()),
            is_operator: true,
            has_server: true,
            expires,
        };
        for number in 0..=MAX_SESSIONS as u64 {
            let expires = NOW + Duration::from_secs(number + 1);
            sessions.add(&number.to_string(), session(expires), NOW);
        }
        assert!(sessions.get("0", NOW).is_none());
        assert!(sessions.get("1", NOW).is_some());
        assert!(sessions.get("1", NOW + Duration::from_secs(2)).is_none());
        assert!(sessions.get("x", NOW).is_none());
        assert_eq!(lock(&sessions.sessions).len(), MAX_SESSIONS);
        assert!(!format!("{sessions:?}").contains("token\""));
    }
}
