//! The addresses that webhooks may call: those of the public internet, unless the operator allows more.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses are allowed that are not public.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Loopback addresses.
    pub(crate) loopback: bool,
    /// All addresses.
    pub(crate) all: bool,
}

impl Allowed {
    /// Whether the address may be called. It is the one that is dialled, after names are resolved.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        let address = embedded(address);
        self.all || (self.loopback && address.is_loopback()) || is_public(address)
    }
}

/// The IPv4 address that an IPv6 address stands for, or the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match [a, b, c, d, e, f] {
        // IPv4-mapped and IPv4-compatible addresses, but not :: and ::1.
        [0, 0, 0, 0, 0, 0xffff] => v4(g, h),
        [0, 0, 0, 0, 0, 0] if g != 0 || h > 1 => v4(g, h),
        // NAT64 with the well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0] => v4(g, h),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This network; carrier-grade NAT; protocol assignments; benchmarks; reserved.
        (0, ..) | (100, 64..=127, _) | (192, 0, 0) | (198, 18 | 19, _) | (240.., ..) => true,
        _ => {
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
                || address.is_multicast()
        }
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only global unicast addresses are public: this leaves out loopback, link-local, unique-local and multicast addresses, and
    // NAT64 with a local prefix. Teredo, documentation and other special purposes are inside the range.
    (0x2000..=0x3fff).contains(&a)
        && !(a == 0x2001 && (b <= 0x01ff || b == 0x0db8))
        && !(a == 0x3fff && b <= 0x0fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_PUBLIC: [&str; 38] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:192.168.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::1",
        "2002:7f00:1::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for text in NOT_PUBLIC {
            let address = text.parse().unwrap();
            assert!(!Allowed::default().allows(address), "{text}");
            assert!(Allowed { all: true, loopback: false }.allows(address), "{text}");
        }
    }

    #[test]
    fn loopback_is_allowed_alone() {
        let allowed = Allowed { loopback: true, all: false };
        let loopback: Vec<&str> =
            NOT_PUBLIC.into_iter().filter(|text| allowed.allows(text.parse().unwrap())).collect();
        let expected =
            ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "2002:7f00:1::1"];
        assert_eq!(loopback, expected);
    }

    #[test]
    fn public_addresses_are_allowed() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2600::1",
            "2a00:1450::1",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(Allowed::default().allows(text.parse().unwrap()), "{text}");
        }
    }
}
