//! The host and the origin of a request: who may use the console from a browser.
//!
//! A page of a foreign name can reach a server on this machine if that name resolves to a loopback address (DNS
//! rebinding). The browser then takes the server for a part of the foreign site. The `Host` still has the foreign name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use capably_protocol::{ErrorCode, ErrorInfo};
use hyper::{HeaderMap, header};

/// The host of a request, with its port.
pub(super) fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Checks that the request names this server as its host, and comes from no page of another origin.
///
/// # Errors
/// Code 40300.
pub(super) fn check(headers: &HeaderMap, is_loopback: bool) -> Result<(), ErrorInfo> {
    let host = host(headers).unwrap_or_default();
    if is_loopback && !is_loopback_host(host) {
        return Err(refused(
            "the console of a server on a loopback address is at localhost or at a loopback address, not at this host",
        ));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    // Only the host counts: a proxy may have ended TLS.
    let origin = origin.split_once("://").map(|(_, host)| host);
    if origin.is_some_and(|origin| !origin.is_empty() && origin.eq_ignore_ascii_case(host)) {
        Ok(())
    } else {
        Err(refused("the console refuses requests from pages of another origin"))
    }
}

fn refused(message: &'static str) -> ErrorInfo {
    ErrorInfo::new(ErrorCode(40300), 403, message)
}

/// Whether a `Host` is `localhost` or a loopback address, with or without a port.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()) => {
            name
        }
        _ => host,
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(is_loopback_v6),
        None => name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
    }
}

fn is_loopback_v6(address: Ipv6Addr) -> bool {
    IpAddr::V6(address).to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_localhost_and_loopback_addresses_are_loopback_hosts() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.8.9.1", "[::1]:80", "[::1]"]
        {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "127.0.0.1@evil.example",
            "10.0.0.1:8080",
            "[::2]:80",
            "::1",
            "0.0.0.0:8080",
            "localhost:",
            "2130706433",
            "0x7f.1",
            "localhost:80:80",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
