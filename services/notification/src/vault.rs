//! Tokens of devices at rest: AES-256-GCM (NIST SP 800-38D) with a fresh random nonce, under a key that has a name.
//!
//! A sealed token is `nonce (12) ‖ ciphertext ‖ tag (16)`; the device that it belongs to is its associated data, so a token
//! moved to another row does not open. The name of the key stands beside it: a new key is put in, the old one opens what it
//! sealed until that is sealed anew. A token is found by its hash, which needs no key: it is long and random.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest,
};
use coreloop_service::Mode;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::{Error, Options};

/// The key of local mode. Public knowledge, and refused in production.
const LOCAL_KEY: &str = "636f72656c6f6f702d6c6f63616c2d6465766963652d746f6b656e2d6b657930";

/// Bytes of a key, and of a hash.
const KEY_LEN: usize = 32;

/// Seals with one key, opens with any that it knows.
pub struct Vault {
    keys: Vec<(String, RandomizedNonceKey)>,
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Nonce, ciphertext, tag.
    pub bytes: Vec<u8>,
    /// Name of the key.
    pub key: String,
}

impl Vault {
    /// The vault of the settings: `master_key` seals, `old_master_key` only opens.
    ///
    /// # Errors
    /// When there is no key in production, or the library refuses one.
    pub fn of(options: &Options, mode: Mode) -> Result<Self, Error> {
        let master = match (&options.master_key, mode) {
            (Some(text), _) => parse_key(text),
            (None, Mode::Local) => parse_key(&LOCAL_KEY.to_owned().into()),
            (None, Mode::Production) => None,
        };
        let master = master.ok_or(Error::Corrupt("notification.master_key is no key"))?;
        let mut keys = vec![(options.master_key_id.clone(), key(&master)?)];
        if let Some(old) = options.old_master_key.as_ref().and_then(parse_key) {
            keys.push((options.old_master_key_id.clone(), key(&old)?));
        }
        Ok(Self { keys })
    }

    /// Name of the key that seals.
    #[must_use]
    pub fn sealing(&self) -> &str {
        self.keys.first().map_or("", |(name, _)| name)
    }

    /// Seals the token of a device.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn seal(&self, device: Uuid, token: &str) -> Result<Sealed, Error> {
        let refused = Error::Corrupt("a token cannot be sealed");
        let Some((name, key)) = self.keys.first() else { return Err(refused) };
        let mut body = token.as_bytes().to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(device.as_bytes()), &mut body).map_err(|_| refused)?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut body);
        Ok(Sealed { bytes, key: name.clone() })
    }

    /// Opens the token of a device.
    ///
    /// # Errors
    /// When its key is not known, it is another's, or it was changed.
    pub fn open(&self, device: Uuid, sealed: &Sealed) -> Result<SecretString, Error> {
        let refused = || Error::Corrupt("a sealed token does not open: another key, or it was changed");
        let (_, key) = self.keys.iter().find(|(name, _)| *name == sealed.key).ok_or_else(refused)?;
        let (nonce, body) = sealed.bytes.split_at_checked(NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut body = body.to_vec();
        let plain = key.open_in_place(nonce, Aad::from(device.as_bytes()), &mut body).map_err(|_| refused())?;
        Ok(String::from_utf8(plain.to_vec()).map_err(|_| refused())?.into())
    }

    /// Seals anew what another key has sealed.
    ///
    /// # Errors
    /// When it does not open.
    pub fn reseal(&self, device: Uuid, sealed: &Sealed) -> Result<Sealed, Error> {
        self.seal(device, self.open(device, sealed)?.expose_secret())
    }
}

/// What a token is found by: SHA-256.
#[must_use]
pub fn hash(token: &str) -> [u8; KEY_LEN] {
    let hashed = digest::digest(&digest::SHA256, token.as_bytes());
    hashed.as_ref().first_chunk::<KEY_LEN>().copied().unwrap_or_default()
}

fn key(bytes: &[u8; KEY_LEN]) -> Result<RandomizedNonceKey, Error> {
    RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| Error::Corrupt("the key of tokens is refused"))
}

/// Reads a key from settings: 32 bytes in hex.
#[must_use]
pub fn parse_key(text: &SecretString) -> Option<[u8; KEY_LEN]> {
    hex::decode(text.expose_secret().trim()).ok()?.try_into().ok()
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    const TOKEN: &str = "fcm-token:of-a-phone";

    fn options(id: &str, key: u8) -> Options {
        let master_key = Some(hex::encode([key; KEY_LEN]).into());
        Options { master_key, master_key_id: id.to_owned(), ..Options::default() }
    }

    fn opened(vault: &Vault, device: Uuid, sealed: &Sealed) -> Option<String> {
        vault.open(device, sealed).ok().map(|token| token.expose_secret().to_owned())
    }

    #[test]
    fn a_token_opens_only_for_its_device_and_with_its_key() {
        let vault = Vault::of(&options("k1", 1), Mode::Production).unwrap();
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = vault.seal(mine, TOKEN).unwrap();
        assert_eq!(opened(&vault, mine, &sealed).as_deref(), Some(TOKEN));
        assert!(!sealed.bytes.windows(4).any(|part| part == b"fcm-"));
        assert_ne!(vault.seal(mine, TOKEN).unwrap(), sealed);
        assert_eq!(opened(&vault, other, &sealed), None);
        let mut changed = sealed.clone();
        changed.bytes[14] ^= 1;
        assert_eq!(opened(&vault, mine, &changed), None);
        assert_eq!(opened(&vault, mine, &Sealed { bytes: vec![1; 5], ..sealed.clone() }), None);
        assert_eq!(opened(&Vault::of(&options("k1", 2), Mode::Production).unwrap(), mine, &sealed), None);
    }

    #[test]
    fn the_old_key_opens_what_it_sealed_and_the_new_one_seals_it_anew() {
        let device = Uuid::from_u128(1);
        let sealed = Vault::of(&options("k1", 1), Mode::Production).unwrap().seal(device, TOKEN).unwrap();
        let old = (options("", 1).master_key, "k1".to_owned());
        let both = Options { old_master_key: old.0, old_master_key_id: old.1, ..options("k2", 2) };
        let vault = Vault::of(&both, Mode::Production).unwrap();
        let anew = vault.reseal(device, &sealed).unwrap();
        assert_eq!((anew.key.as_str(), vault.sealing()), ("k2", "k2"));
        let alone = Vault::of(&options("k2", 2), Mode::Production).unwrap();
        assert_eq!(opened(&alone, device, &anew).as_deref(), Some(TOKEN));
        assert_eq!(opened(&alone, device, &sealed), None);
    }

    #[test]
    fn a_hash_is_a_tokens_own_and_production_needs_a_key() {
        assert_eq!(hash(TOKEN), hash(TOKEN));
        assert_ne!(hash(TOKEN), hash("fcm-token:of-another"));
        assert!(Vault::of(&Options::default(), Mode::Production).is_err());
        assert!(Vault::of(&Options::default(), Mode::Local).is_ok());
        assert!(parse_key(&LOCAL_KEY.to_owned().into()).is_some());
    }
}
