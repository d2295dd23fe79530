//! Addresses that are none of the public internet: what a name from outside must not lead to by itself.
//!
//! Whoever has a name under an allowed wildcard could point it at the host or its network (DNS rebinding). So such
//! addresses are left out of answers unless a rule allows them by number, or the administrator's hosts file says them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks of IPv4 that are not reached over the internet (IANA special-purpose address registry, RFC 6890), and the address at
/// which one provider's metadata service answers although it is public.
const SPECIAL4: [(Ipv4Addr, u8); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Azure's WireServer.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // Alibaba Cloud's and others' lies in 100.64.0.0/10, that of most in 169.254.0.0/16.
    (Ipv4Addr::new(255, 255, 255, 255), 32),
];

/// Blocks of IPv6 that are not reached over the internet, from the same registry, and those that hold addresses of IPv4 by a
/// scheme which nobody uses any more (6to4, Teredo).
const SPECIAL6: [(Ipv6Addr, u8); 9] = [
    // The unspecified address, loopback, and IPv4-compatible addresses.
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    // Link-local and the former site-local addresses.
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 9),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// Behind these 96 bits an address of IPv4 stands, which a gateway translates to (NAT64, RFC 6052).
const TRANSLATED: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// Whether `address` is none of the public internet.
pub(super) fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_special4(address),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let translated = (bits ^ TRANSLATED.to_bits()) >> 32 == 0;
            let [.., a, b, c, d] = address.octets();
            let inside =
                |&(net, length): &(Ipv6Addr, u8)| (bits ^ net.to_bits()) >> (128 - length) == 0;
            (translated && is_special4(Ipv4Addr::new(a, b, c, d))) || SPECIAL6.iter().any(inside)
        }
    }
}

fn is_special4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    SPECIAL4
        .iter()
        .any(|&(net, length)| (bits ^ net.to_bits()) >> (32 - length) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_inside_is_told_from_the_internet() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.251",
            "255.255.255.255",
            "0.0.0.0",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::fb",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "::10.0.0.1",
        ] {
            assert!(is_special(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "140.82.112.3",
            "172.32.0.0",
            "100.128.0.1",
            "168.63.129.17",
            "2606:4700::6810:1",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
        ] {
            assert!(!is_special(outside.parse().unwrap()), "{outside}");
        }
    }
}
