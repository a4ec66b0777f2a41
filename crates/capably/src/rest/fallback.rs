//! The hosts of a request: the first one, and the next one after a failure (RSC15).

use std::sync::{Mutex, MutexGuard};

use tokio::time::{Duration, Instant};

use crate::{
    Result,
    endpoint::Domains,
    http::{HttpError, HttpErrorKind, HttpResponse},
    random,
    sync::lock,
};

/// The memory of a client about its hosts.
#[derive(Debug, Default)]
pub(crate) struct Hosts(Mutex<HostMemory>);

#[derive(Debug, Default)]
struct HostMemory {
    preferred: Option<Preferred>,
    /// The fallback host of the realtime connection (RTN17e).
    realtime: Option<String>,
}

/// A fallback host that worked when others did not (RSC15f).
#[derive(Clone, Debug)]
struct Preferred {
    host: String,
    /// `None` for ever: the end is too far in the future for an `Instant`.
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

    /// The realtime connection is to this fallback host, or to the primary domain (RTN17e).
    pub(crate) fn follow(&self, realtime: Option<&str>) {
        let mut known = self.lock();
        if known.realtime.as_deref() != realtime {
            known.realtime = realtime.map(str::to_owned);
            // The connection's host is more recent knowledge than the preferred host.
            known.preferred = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HostMemory> {
        lock(&self.0)
    }
}

/// The position of one request in its sequence of hosts.
#[derive(Debug)]
pub(crate) enum HostSequence {
    /// The preferred host; then the fallback host of the realtime connection, if there is one.
    Preferred(String, Option<String>),
    /// The fallback host of the realtime connection.
    Realtime(String),
    /// The primary domain.
    Primary,
    /// A fallback host, and the hosts after it.
    Fallback {
        /// The host.
        host: String,
        /// The remaining hosts, the next one last.
        rest: Vec<String>,
    },
}

impl HostSequence {
    /// The current host.
    pub(crate) fn host<'a>(&'a self, domains: &'a Domains) -> &'a str {
        match self {
            Self::Primary => &domains.primary,
            Self::Preferred(host, _) | Self::Realtime(host) | Self::Fallback { host, .. } => host,
        }
    }

    /// The next host after a failure. After a preferred host comes the host of the realtime connection or the primary
    /// domain (RSC15f), then at most `max_fallbacks` of the other fallback hosts in random order (RSC15a).
    ///
    /// # Errors
    /// Code 50000 when the operating system provides no random bytes.
    pub(crate) fn next(self, domains: &Domains, max_fallbacks: usize) -> Result<Option<Self>> {
        let mut rest = match self {
            Self::Preferred(_, None) => return Ok(Some(Self::Primary)),
            Self::Preferred(_, Some(realtime)) => return Ok(Some(Self::Realtime(realtime))),
            Self::Primary => sample(&domains.fallbacks, max_fallbacks, |_| true)?,
            Self::Realtime(tried) => {
                sample(&domains.fallbacks, max_fallbacks, |host| *host != tried)?
            }
            Self::Fallback { rest, .. } => rest,
        };
        Ok(rest.pop().map(|host| Self::Fallback { host, rest }))
    }
}

/// At most this many of the hosts for which `wanted` is true, in random order.
fn sample(hosts: &[String], most: usize, wanted: impl Fn(&String) -> bool) -> Result<Vec<String>> {
    let mut keyed = hosts
        .iter()
        .filter(|host| wanted(host))
        .map(|host| Ok((random::bytes::<8>()?, host.clone())))
        .collect::<Result<Vec<_>>>()?;
    // Random keys make a random order, so that clients spread over the hosts.
    keyed.sort();
    Ok(keyed.into_iter().map(|(_, host)| host).take(most).collect())
}

/// Whether another host may succeed (RSC15l).
pub(crate) fn needs_another_host(outcome: &Result<HttpResponse, HttpError>) -> bool {
    match outcome {
        Ok(response) => {
            // A CDN in front of a host may refuse with 4xx although the service behind it works (RSC15l4).
            let cloudfront = response.header("Server") == Some("CloudFront");
            (500..=504).contains(&response.status) || (cloudfront && response.status >= 400)
        }
        Err(error) => match error.kind() {
            HttpErrorKind::Connect | HttpErrorKind::Timeout | HttpErrorKind::Interrupted => true,
            // The service may have acted on the request, or would refuse it everywhere.
            HttpErrorKind::Response | HttpErrorKind::Request => false,
        },
    }
}
