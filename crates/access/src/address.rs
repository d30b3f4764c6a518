//! The client's address, behind proxies.
//!
//! A header that says where a request comes from is as good as the hop that wrote it. From a peer outside the trusted
//! networks no header counts. From a trusted one `x-envoy-external-address` does (Envoy sets it itself and clients cannot),
//! else `x-forwarded-for` is read from the right, past trusted hops, to the first that is not.

use std::net::IpAddr;

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: u128,
    prefix: u32,
    v4: bool,
}

/// The client's address of a request; an extension put there by the service layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// The other end of a request's connection; an extension put there by the listener, absent for a call in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub IpAddr);

/// The networks whose word is believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<Network>);

/// A setting that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network in CIDR form, as 10.0.0.0/8")]
pub struct NotANetwork(pub String);

impl TrustedProxies {
    /// Reads networks in CIDR form; a bare address is a network of one.
    ///
    /// # Errors
    /// Names the first that cannot be read.
    pub fn parse<S: AsRef<str>>(networks: &[S]) -> Result<Self, NotANetwork> {
        networks
            .iter()
            .map(|text| Network::parse(text.as_ref()).ok_or_else(|| NotANetwork(text.as_ref().to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The address is within one of the networks. An IPv4 address written as IPv6 counts as IPv4.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        let (bits, v4) = bits(address.to_canonical());
        self.0.iter().any(|network| network.v4 == v4 && (network.address ^ bits) >> (128 - network.prefix) == 0)
    }

    /// Where a request comes from: `peer` is the other end of the connection, `external` the value of
    /// `x-envoy-external-address`, `forwarded` the values of `x-forwarded-for` in order.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        external: Option<&str>,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        if let Some(address) = external.and_then(parse_address) {
            return address;
        }
        let mut client = peer;
        for hop in forwarded.rev().flat_map(|value| value.rsplit(',')) {
            // What stands left of a hop that cannot be read was written by nobody known.
            let Some(address) = parse_address(hop) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let (address, v4) = bits(address.trim().parse::<IpAddr>().ok()?);
        let longest = if v4 { 32 } else { 128 };
        let prefix = prefix.unwrap_or(longest);
        // Both families stand at the top of the 128 bits, so a prefix means the same for both.
        (1..=longest).contains(&prefix).then_some(Self { address, prefix, v4 })
    }
}

fn bits(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
        IpAddr::V6(v6) => (u128::from(v6), false),
    }
}

/// An address as proxies write it: bare, or with a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn client(peer: &str, external: Option<&str>, forwarded: &[&str]) -> String {
        let trusted = TrustedProxies::parse(&["10.0.0.0/8", "::1"]).unwrap();
        trusted.client(peer.parse().unwrap(), external, forwarded.iter().copied()).to_string()
    }

    #[test]
    fn headers_of_a_stranger_do_not_count() {
        assert_eq!(client("203.0.113.9", Some("1.1.1.1"), &["2.2.2.2"]), "203.0.113.9");
    }

    #[test]
    fn forwarded_is_read_from_the_right_past_trusted_hops() {
        assert_eq!(client("10.0.0.1", None, &["6.6.6.6, 198.51.100.7, 10.2.3.4"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", None, &["6.6.6.6", "198.51.100.7", "10.2.3.4"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", None, &["6.6.6.6, garbage, 10.2.3.4"]), "10.2.3.4");
        assert_eq!(client("10.0.0.1", None, &[]), "10.0.0.1");
        assert_eq!(client("::1", None, &["[2001:db8::5]:443"]), "2001:db8::5");
    }

    #[test]
    fn envoys_own_word_counts_first() {
        assert_eq!(client("10.0.0.1", Some("198.51.100.7"), &["6.6.6.6"]), "198.51.100.7");
        assert_eq!(client("::ffff:10.0.0.1", Some("198.51.100.7"), &[]), "198.51.100.7");
    }

    #[test]
    fn networks_are_read_strictly() {
        for bad in ["10.0.0.0/33", "::/129", "10.0.0/8", "", "0.0.0.0/0"] {
            assert!(TrustedProxies::parse(&[bad]).is_err(), "{bad}");
        }
        let trusted = TrustedProxies::parse(&["2001:db8::/32", "192.168.1.0/25"]).unwrap();
        assert!(trusted.trusts("2001:db8:ffff::1".parse().unwrap()));
        assert!(!trusted.trusts("2001:db9::1".parse().unwrap()));
        assert!(trusted.trusts("192.168.1.127".parse().unwrap()));
        assert!(!trusted.trusts("192.168.1.128".parse().unwrap()));
    }
}
