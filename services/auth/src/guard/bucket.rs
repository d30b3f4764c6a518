//! Whose tries are counted together: an account's, those of a device that is known there, an address's.

use std::net::IpAddr;

use aws_lc_rs::digest;
use coreloop_core::UserId;

use crate::Client;

/// A device id shorter than this could be guessed and earns no bucket of its own.
const LONG_DEVICE_ID: usize = 16;

/// Whose password is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// By address, at sign-in. `known_device`: somebody signed in to it with the client's device id before.
    Email {
        /// Normalised address; need not belong to an account.
        email: String,
        /// The device is known to the account.
        known_device: bool,
    },
    /// By a signed-in user, who proves the password again.
    SignedIn(UserId),
}

impl Account {
    /// The bucket its tries are counted in. Hashed, so the table holds no addresses.
    #[must_use]
    pub fn bucket(&self, client: &Client) -> Vec<u8> {
        match self {
            Self::Email { email, known_device } => {
                let device = if *known_device { device_bucket(email, client) } else { None };
                device.unwrap_or_else(|| hash(&["email", email]))
            }
            Self::SignedIn(user) => hash(&["user", &user.to_string()]),
        }
    }
}

/// The bucket that the client's device has at the account of `email` once it is known there. None where the client names no
/// device by an id long enough.
#[must_use]
pub fn device_bucket(email: &str, client: &Client) -> Option<Vec<u8>> {
    (client.device_id.len() >= LONG_DEVICE_ID).then(|| hash(&["device", email, &client.device_id]))
}

/// The bucket of an address; an IPv6 client has its whole /64. None when the address is not known.
#[must_use]
pub fn address_bucket(ip: &str) -> Option<Vec<u8>> {
    match ip.parse().ok()? {
        IpAddr::V4(v4) => Some(hash(&["address", &v4.to_string()])),
        IpAddr::V6(v6) => Some(hash(&["address", &format!("{:x}", v6.to_bits() >> 64)])),
    }
}

fn hash(parts: &[&str]) -> Vec<u8> {
    digest::digest(&digest::SHA256, parts.join("\n").as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_known_devices_are_counted_apart_and_short_ids_are_strangers() {
        let client = Client::default().with_device("0123456789abcdef", "");
        let known = Account::Email { email: "a@x".into(), known_device: true };
        let unknown = Account::Email { email: "a@x".into(), known_device: false };
        assert_ne!(known.bucket(&client), unknown.bucket(&client));
        let short = Client::default().with_device("phone", "");
        assert_eq!(known.bucket(&short), unknown.bucket(&short));
        assert_ne!(
            unknown.bucket(&client),
            Account::Email { email: "b@x".into(), known_device: false }.bucket(&client)
        );
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        assert_eq!(address_bucket("2001:db8::1"), address_bucket("2001:db8::ffff:2"));
        assert_ne!(address_bucket("2001:db8::1"), address_bucket("2001:db8:0:1::1"));
        assert_ne!(address_bucket("10.0.0.1"), address_bucket("10.0.0.2"));
        assert_eq!(address_bucket(""), None);
    }
}
