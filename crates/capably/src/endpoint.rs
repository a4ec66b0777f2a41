//! The hosts of a client: the primary domain and its fallbacks (REC).

/// The default URL of the connectivity check (REC3a).
pub(crate) const CONNECTIVITY_CHECK_URL: &str =
    "https://internet-up.ably-realtime.com/is-the-internet-up.txt";

/// The default URL of the WebSocket that finds out whether the network lets WebSockets through.
pub(crate) const WS_CONNECTIVITY_CHECK_URL: &str = "wss://ws-up.ably-realtime.com";

/// The hosts of a client (REC1, REC2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domains {
    /// The host to try first.
    pub(crate) primary: String,
    /// The hosts to try when the primary host fails. Without any there is no fallback (RSC15m).
    pub(crate) fallbacks: Vec<String>,
}

impl Domains {
    /// The domains for the options `endpoint` and `fallbackHosts`.
    pub(crate) fn new(endpoint: Option<&str>, fallback_hosts: Option<&[String]>) -> Self {
        let (primary, implied) = match Endpoint::read(endpoint) {
            Endpoint::Host(host) => (host.to_owned(), Vec::new()),
            Endpoint::Production(id) => {
                (format!("{id}.realtime.ably.net"), fallbacks(id, "fallback.ably-realtime.com"))
            }
            Endpoint::NonProduction(id) => (
                format!("{id}.realtime.ably-nonprod.net"),
                fallbacks(id, "fallback.ably-realtime-nonprod.com"),
            ),
        };
        Self { primary, fallbacks: fallback_hosts.map_or(implied, <[String]>::to_vec) }
    }
}

/// The meaning of the option `endpoint` (REC1b).
enum Endpoint<'a> {
    Host(&'a str),
    Production(&'a str),
    NonProduction(&'a str),
}

impl<'a> Endpoint<'a> {
    fn read(option: Option<&'a str>) -> Self {
        let Some(endpoint) = option else { return Self::Production("main") };
        // A URL has brackets around an IPv6 address, so users may write them in the option, too.
        let bare = endpoint.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bare.unwrap_or(endpoint);
        let is_host = host.contains('.')
            || host.contains("::")
            || host.eq_ignore_ascii_case("localhost")
            // An IPv6 address in its full form has no `::`.
            || host.parse::<std::net::Ipv6Addr>().is_ok();
        if is_host {
            Self::Host(host)
        } else if let Some(id) = endpoint.strip_prefix("nonprod:") {
            Self::NonProduction(id)
        } else {
            Self::Production(endpoint)
        }
    }
}

fn fallbacks(id: &str, suffix: &str) -> Vec<String> {
    ["a", "b", "c", "d", "e"].map(|letter| format!("{id}.{letter}.{suffix}")).to_vec()
}

/// The host for a URL: an IPv6 address gets brackets.
pub(crate) fn url_host(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Whether traffic to this host stays on this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the text is a valid host for a URL.
pub(crate) fn is_host(host: &str) -> bool {
    host.parse::<std::net::Ipv6Addr>().is_ok()
        || (!host.is_empty()
            && !host.starts_with('.')
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(endpoint: &str) -> (String, Vec<String>) {
        let domains = Domains::new(Some(endpoint), None);
        (domains.primary, domains.fallbacks)
    }

    #[test]
    fn the_default_is_the_main_production_policy() {
        let domains = Domains::new(None, None);
        assert_eq!(domains.primary, "main.realtime.ably.net");
        assert_eq!(
            domains.fallbacks,
            ["a", "b", "c", "d", "e"].map(|l| format!("main.{l}.fallback.ably-realtime.com")),
            "REC2c1"
        );
    }

    #[test]
    fn a_host_name_stands_for_itself_without_fallbacks() {
        for host in [
            "custom.example.com",
            "localhost",
            "LocalHost",
            "::1",
            "2001:db8::1",
            "2001:db8:0:0:0:0:0:1",
            "127.0.0.1",
        ] {
            assert_eq!(domains(host), (host.to_owned(), vec![]), "{host}");
        }
        for address in ["::1", "2001:db8:0:0:0:0:0:1"] {
            assert_eq!(domains(&format!("[{address}]")), (address.to_owned(), vec![]));
        }
    }

    #[test]
    fn a_routing_policy_names_its_domains() {
        let (primary, fallbacks) = domains("sandbox");
        assert_eq!(primary, "sandbox.realtime.ably.net");
        assert_eq!(fallbacks[4], "sandbox.e.fallback.ably-realtime.com", "REC2c4");

        let (primary, fallbacks) = domains("nonprod:sandbox");
        assert_eq!(primary, "sandbox.realtime.ably-nonprod.net");
        assert_eq!(fallbacks[0], "sandbox.a.fallback.ably-realtime-nonprod.com", "REC2c3");
        assert_eq!(fallbacks.len(), 5);
    }

    #[test]
    fn given_fallbacks_replace_the_implied_ones() {
        let given = ["fb.example.com".to_owned()];
        assert_eq!(Domains::new(Some("sandbox"), Some(&given)).fallbacks, given, "REC2a2");
        assert!(Domains::new(None, Some(&[])).fallbacks.is_empty(), "TO3k6");
        let domains = Domains::new(Some("custom.example.com"), Some(&given));
        assert_eq!(domains.primary, "custom.example.com");
        assert_eq!(domains.fallbacks, given);
    }

    #[test]
    fn knows_which_hosts_are_this_machine() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "127.example.com", "10.0.0.1", "::2", "127.1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn knows_what_can_be_a_host() {
        for host in ["a.example.com", "localhost", "::1", "10.0.0.1", "my_host.internal"] {
            assert!(is_host(host), "{host}");
        }
        for host in
            ["", "a b", "http://a.example.com", "a.example.com:80", "a/b", ".a", "a@b.c", "é.fr"]
        {
            assert!(!is_host(host), "{host}");
        }
    }
}
