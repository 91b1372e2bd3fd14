//! Room `model`: which addresses of the internet are anyone's. Pure: nothing is resolved here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is anyone's: none of the special ranges that IANA keeps for one machine, one network or nobody.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = a == 0
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 224;
    !special
}

/// Only global unicast is public, less what it has for protocols and documentation. An address that carries one of IPv4 is
/// what that is.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let within = |network: [u16; 2], length: u32| {
        let network = (u128::from(network[0]) << 112) | (u128::from(network[1]) << 96);
        (ip.to_bits() ^ network) >> (128 - length) == 0
    };
    let carried = |bits: u128| Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap_or_default());
    if let Some(mapped) = ip.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    if within([0x64, 0xff9b], 96) {
        return is_public_v4(carried(ip.to_bits()));
    }
    if within([0x2002, 0], 16) {
        return is_public_v4(carried(ip.to_bits() >> 80));
    }
    let special = within([0x2001, 0], 23) || within([0x2001, 0xdb8], 32) || within([0x3fff, 0], 20);
    within([0x2000, 0], 3) && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_world_are_public() {
        for public in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(!is_public(special.parse().expect("an address")), "{special}");
        }
    }
}
