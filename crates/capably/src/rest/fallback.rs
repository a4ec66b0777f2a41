//! Which host a request goes to, and which next when one fails (RSC15).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

use crate::{
    Result,
    endpoint::Domains,
    http::{HttpError, HttpErrorKind, HttpResponse},
    random,
};

/// What a client remembers of its hosts.
#[derive(Debug, Default)]
pub(crate) struct Hosts(Mutex<HostMemory>);

#[derive(Debug, Default)]
struct HostMemory {
    preferred: Option<Preferred>,
    /// The fallback host that the realtime connection is to (RTN17e).
    realtime: Option<String>,
}

/// A fallback host that worked when others did not (RSC15f).
#[derive(Clone, Debug)]
struct Preferred {
    host: String,
    /// `None` is never: a time too far off to be told.
    until: Option<Instant>,
}

impl Hosts {
    /// The hosts for one request.
    pub(crate) fn sequence(&self, now: Instant) -> HostSequence {
        let mut known = self.lock();
        known.preferred =
            known.preferred.take().filter(|known| known.until.is_none_or(|until| now < until));
        match (&known.preferred, &known.realtime) {
            (Some(preferred), _) => {
                HostSequence::Preferred(preferred.host.clone(), known.realtime.clone())
            }
            (None, Some(host)) => HostSequence::Realtime(host.clone()),
            (None, None) => HostSequence::Primary,
        }
    }

    /// Remembers a fallback host that worked.
    pub(crate) fn prefer(&self, host: &str, now: Instant, lasting: Duration) {
        self.lock().preferred =
            Some(Preferred { host: host.to_owned(), until: now.checked_add(lasting) });
    }

    /// Forgets a host that stopped working.
    pub(crate) fn forget(&self, host: &str) {
        let mut known = self.lock();
        if known.preferred.as_ref().is_some_and(|preferred| preferred.host == host) {
            known.preferred = None;
        }
    }

    /// Follows the realtime connection to a fallback host, or back from it (RTN17e).
    pub(crate) fn follow(&self, realtime: Option<&str>) {
        let mut known = self.lock();
        if known.realtime.as_deref() != realtime {
            known.realtime = realtime.map(str::to_owned);
            // What worked before says less than where the connection is now.
            known.preferred = None;
        }
    }

    /// Nothing panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, HostMemory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one request stands on its way through the hosts.
#[derive(Debug)]
pub(crate) enum HostSequence {
    /// At the host that is preferred for now; then at that of the realtime connection, if it is to a
    /// fallback.
    Preferred(String, Option<String>),
    /// At the fallback host of the realtime connection.
    Realtime(String),
    /// At the primary domain.
    Primary,
    /// At a fallback, with the ones to try after it.
    Fallback {
        /// The host.
        host: String,
        /// The others, the next one last.
        rest: Vec<String>,
    },
}

impl HostSequence {
    /// The host to ask.
    pub(crate) fn host<'a>(&'a self, domains: &'a Domains) -> &'a str {
        match self {
            Self::Primary => &domains.primary,
            Self::Preferred(host, _) | Self::Realtime(host) | Self::Fallback { host, .. } => host,
        }
    }

    /// What comes after a failure: from a preferred host that of the realtime connection or the primary
    /// domain (RSC15f), from there at most `max_fallbacks` of the other fallbacks, in random order
    /// (RSC15a).
    ///
    /// # Errors
    /// Code 50000 when the operating system has no randomness to give.
    pub(crate) fn next(self, domains: &Domains, max_fallbacks: usize) -> Result<Option<Self>> {
        let mut rest = match self {
            Self::Preferred(_, None) => return Ok(Some(Self::Primary)),
            Self::Preferred(_, Some(realtime)) => return Ok(Some(Self::Realtime(realtime))),
            Self::Primary => some(&domains.fallbacks, max_fallbacks, |_| true)?,
            Self::Realtime(tried) => {
                some(&domains.fallbacks, max_fallbacks, |host| *host != tried)?
            }
            Self::Fallback { rest, .. } => rest,
        };
        Ok(rest.pop().map(|host| Self::Fallback { host, rest }))
    }
}

/// At most so many of these hosts, those that are `wanted`, in random order.
fn some(hosts: &[String], most: usize, wanted: impl Fn(&String) -> bool) -> Result<Vec<String>> {
    let mut keyed = hosts
        .iter()
        .filter(|host| wanted(host))
        .map(|host| Ok((random::bytes::<8>()?, host.clone())))
        .collect::<Result<Vec<_>>>()?;
    keyed.sort();
    Ok(keyed.into_iter().map(|(_, host)| host).take(most).collect())
}

/// Whether another host may do better (RSC15l).
pub(crate) fn needs_another_host(outcome: &Result<HttpResponse, HttpError>) -> bool {
    match outcome {
        Ok(response) => {
            let cloudfront = response.header("Server") == Some("CloudFront");
            (500..=504).contains(&response.status) || (cloudfront && response.status >= 400)
        }
        Err(error) => match error.kind() {
            HttpErrorKind::Connect | HttpErrorKind::Timeout | HttpErrorKind::Interrupted => true,
            HttpErrorKind::Response | HttpErrorKind::Request => false,
        },
    }
}
