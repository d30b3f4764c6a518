//! Addresses of photos that people name. We never load one: a model or a worker does, which may stand where such an address leads
//! into somebody's network.

use std::net::IpAddr;

use url::{Host, Url};

/// Why an address is not taken; none when it is. With `private` it may be http, and of a host that only this network knows.
#[must_use]
pub fn refused(text: &str, private: bool) -> Option<&'static str> {
    let Ok(url) = text.parse::<Url>() else { return Some("must be an address") };
    if url.scheme() != "https" && !(private && url.scheme() == "http") {
        return Some("must be an https address");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("must not name a user");
    }
    let open = match url.host() {
        None => false,
        Some(Host::Domain(name)) => is_public_name(name),
        Some(Host::Ipv4(address)) => is_public(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => is_public(IpAddr::V6(address)),
    };
    if open || (private && url.host().is_some()) { None } else { Some("must be of a host that everybody knows") }
}

/// Names of one network alone have no dot, or one of these ends.
fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let inner = ["localhost", "local", "internal", "intranet", "lan", "home", "corp", "arpa", "svc", "test", "invalid"];
    let end = name.rsplit('.').next().unwrap_or_default();
    name.contains('.') && !inner.contains(&end)
}

/// Numbers are for machines: those that are not of everybody's network are refused, and so are all of IPv6 but its global ones.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let reserved = a == 0 || a >= 224 || (a == 192 && b == 0) || (a == 198 && (b == 18 || b == 19));
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared || reserved)
        }
        // 2000::/3; what carries an IPv4 address within (6to4, Teredo) is none of a host.
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            first & 0xe000 == 0x2000 && first != 0x2002 && !(first == 0x2001 && second == 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_https_address_is_taken() {
        for good in ["https://cdn.example.com/a.jpg?x=1", "https://8.8.8.8/a.jpg", "https://[2a00:1450::1]/a.jpg"] {
            assert_eq!(refused(good, false), None, "{good}");
        }
    }

    #[test]
    fn what_leads_into_a_network_is_not() {
        for bad in [
            "",
            "a.jpg",
            "http://cdn.example.com/a.jpg",
            "ftp://cdn.example.com/a.jpg",
            "file:///etc/passwd",
            "data:image/png;base64,AAAA",
            "https://user:secret@cdn.example.com/a.jpg",
            "https://localhost/a.jpg",
            "https://storage/a.jpg",
            "https://auth.svc/a.jpg",
            "https://metadata.google.internal/",
            "https://LOCALHOST./a.jpg",
            "https://127.0.0.1/a.jpg",
            "https://2130706433/a.jpg",
            "https://0x7f.1/a.jpg",
            "https://10.0.0.8/a.jpg",
            "https://100.64.0.1/a.jpg",
            "https://169.254.169.254/latest/meta-data",
            "https://192.168.1.1/",
            "https://0.0.0.0/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[2002:7f00:1::]/",
        ] {
            assert!(refused(bad, false).is_some(), "{bad}");
        }
        assert_eq!(refused("http://127.0.0.1:9000/a.jpg", true), None);
        assert!(refused("file:///etc/passwd", true).is_some());
    }
}
