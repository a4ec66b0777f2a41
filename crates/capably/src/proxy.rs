//! HTTP proxies: the choice of a proxy for a connection, and tunnels.

use std::{fmt, sync::Arc};

use hyper::{Uri, header::HeaderValue};
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::{BoxError, endpoint::is_loopback};

/// The proxy option of a client.
#[derive(Clone, Default)]
pub(crate) enum ProxyOption {
    /// The proxies in the environment.
    #[default]
    Environment,
    /// No proxy.
    None,
    /// The proxy with this URL, which may contain credentials.
    Url(String),
}

impl ProxyOption {
    /// The proxies of the option; `None` for an invalid URL.
    pub(crate) fn proxies(&self) -> Option<Proxies> {
        match self {
            Self::Environment => Some(Proxies { matcher: Matcher::from_env().into(), all: false }),
            Self::None => Some(Proxies::default()),
            Self::Url(url) => {
                let matcher = Matcher::builder().all(url.as_str()).build().into();
                let proxies = Proxies { matcher, all: true };
                let any = Uri::from_static("http://any.example/");
                matches!(proxies.of(&any), Ok(Some(_))).then_some(proxies)
            }
        }
    }
}

impl fmt::Debug for ProxyOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::None => "None",
            Self::Url(_) => "Url([redacted])",
        })
    }
}

/// The proxies of a client. `Debug` shows no credentials.
#[derive(Clone, Debug)]
pub(crate) struct Proxies {
    matcher: Arc<Matcher>,
    /// Whether to use them for hosts on this machine, too.
    all: bool,
}

impl Default for Proxies {
    /// No proxies.
    fn default() -> Self {
        Self { matcher: Matcher::builder().build().into(), all: false }
    }
}

impl Proxies {
    /// The proxy for requests to this URL.
    ///
    /// # Errors
    /// The environment names a proxy with another protocol than HTTP. A direct connection instead could be just what
    /// the proxy is meant to prevent.
    pub(crate) fn of(&self, target: &Uri) -> Result<Option<HttpProxy>, BoxError> {
        let host = target.host().unwrap_or_default().trim_matches(['[', ']']);
        // A proxy from the environment is for the network, and could not reach this machine.
        if !self.all && is_loopback(host) {
            return Ok(None);
        }
        let Some(found) = self.matcher.intercept(target) else { return Ok(None) };
        match found.uri().scheme_str() {
            Some("http") => {
                Ok(Some(HttpProxy { uri: found.uri().clone(), auth: found.basic_auth().cloned() }))
            }
            other => {
                let scheme = other.unwrap_or_default();
                Err(format!("the proxy has the protocol `{scheme}`, and only `http` is supported")
                    .into())
            }
        }
    }
}

/// The HTTP proxy between a client and a host, from [`ClientOptions::proxy_for`](crate::ClientOptions::proxy_for).
///
/// `Debug` shows no credentials.
#[derive(Clone)]
pub struct HttpProxy {
    /// The proxy's address.
    pub(crate) uri: Uri,
    /// The value of the `Proxy-Authorization` header.
    pub(crate) auth: Option<HeaderValue>,
}

impl HttpProxy {
    /// The host of the proxy; an IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port of the proxy; 80 if its URL has none.
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(80)
    }

    /// The value of the header `Proxy-Authorization`, if the URL of the proxy has credentials. It is a secret.
    pub fn authorization(&self) -> Option<&str> {
        self.auth.as_ref().and_then(|auth| auth.to_str().ok())
    }

    /// Opens a tunnel through the proxy to the host and port of `target`.
    pub(crate) async fn tunnel(
        self,
        tcp: HttpConnector,
        target: Uri,
    ) -> Result<TokioIo<TcpStream>, BoxError> {
        let mut tunnel = Tunnel::new(self.uri, tcp);
        if let Some(auth) = self.auth {
            tunnel = tunnel.with_auth(auth);
        }
        std::future::poll_fn(|cx| tunnel.poll_ready(cx)).await?;
        Ok(tunnel.call(target).await?)
    }
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let auth = self.auth.as_ref().map(|_| "[redacted]");
        let (host, port) = (self.host(), self.port());
        f.debug_struct("HttpProxy")
            .field("host", &host)
            .field("port", &port)
            .field("auth", &auth)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(all: &str, no: &str) -> Proxies {
        Proxies { matcher: Matcher::builder().all(all).no(no).build().into(), all: false }
    }

    fn proxy(proxies: &Proxies, target: &str) -> Option<String> {
        let target = target.parse().expect("the URL is good");
        proxies.of(&target).expect("it speaks http").map(|proxy| proxy.uri.to_string())
    }

    #[test]
    fn the_environment_s_proxy_is_not_for_this_machine() {
        let proxies = environment("http://proxy.example:3128", "spared.example");
        let found = Some("http://proxy.example:3128/".to_owned());
        assert_eq!(proxy(&proxies, "https://main.realtime.ably.net/time"), found);
        assert_eq!(proxy(&proxies, "http://10.0.0.1:8080/"), found);
        for target in [
            "https://spared.example/",
            "http://a.spared.example/",
            "http://127.0.0.1:8080/",
            "http://localhost/",
            "https://[::1]:8443/",
        ] {
            assert_eq!(proxy(&proxies, target), None, "{target}");
        }
    }

    #[test]
    fn a_proxy_that_was_asked_for_is_for_all() {
        let option = ProxyOption::Url("http://u:p@proxy.example".to_owned());
        let proxies = option.proxies().expect("it is one");
        for target in ["http://127.0.0.1:8080/", "https://main.realtime.ably.net/"] {
            let found = Some("http://proxy.example/".to_owned());
            assert_eq!(proxy(&proxies, target), found);
        }
        let none = ProxyOption::None.proxies().expect("none is fine");
        assert_eq!(proxy(&none, "https://main.realtime.ably.net/"), None);
    }

    #[test]
    fn a_proxy_of_another_kind_is_not_passed_by() {
        let proxies = environment("socks5://proxy.example:1080", "");
        let target = Uri::from_static("https://main.realtime.ably.net/");
        let error = proxies.of(&target).map(drop).expect_err("not supported").to_string();
        assert!(error.contains("`socks5`"), "{error}");
        for url in
            ["socks5://proxy.example", "https://proxy.example", "ftp://x", "", "a b", "http://"]
        {
            assert!(ProxyOption::Url(url.to_owned()).proxies().is_none(), "{url}");
        }
    }

    #[test]
    fn debug_shows_no_credentials() {
        let option = ProxyOption::Url("http://ada:s3cr3t@proxy.example".to_owned());
        let proxies = option.proxies().expect("it is one");
        let proxy = proxies.of(&Uri::from_static("http://any.example/")).expect("it speaks http");
        let text = format!("{option:?} {proxies:?} {proxy:?}");
        assert!(!text.contains("s3cr3t") && !text.contains("ada"), "{text}");
        assert!(text.contains("proxy.example"), "{text}");
    }
}
