//! Voucher codes at rest: AES-256-GCM (NIST SP 800-38D) with a fresh random nonce, under a key that has a name.
//!
//! A sealed code is `nonce (12) ‖ ciphertext ‖ tag (16)`; the redemption that it belongs to is its associated data, so a code
//! moved to another row does not open. The name of the key stands beside it: a new key is put in, the old one opens what it
//! sealed until that is gone.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest, hmac,
};
use coreloop_service::Mode;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::{Error, Options, ads::Token};

/// The key of local mode. Public knowledge, and refused in production.
const LOCAL_KEY: &str = "636f72656c6f6f702d6c6f63616c2d766f75636865722d6b65792d3030303030";

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// Seals with one key, opens with any that it knows.
pub struct Vault {
    keys: Vec<(String, RandomizedNonceKey)>,
    /// Sign the tokens of ads: the first one signs, all verify. Made of the keys.
    signing: Vec<hmac::Key>,
}

/// A code as it is kept.
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
        let master = master.ok_or(Error::Corrupt("rewards.master_key is no key"))?;
        let mut keys = vec![(options.master_key_id.clone(), key(&master)?)];
        let mut signing = vec![signing_key(&master)];
        if let Some(old) = options.old_master_key.as_ref().and_then(parse_key) {
            keys.push((options.old_master_key_id.clone(), key(&old)?));
            signing.push(signing_key(&old));
        }
        Ok(Self { keys, signing })
    }

    /// Name of the key that seals.
    #[must_use]
    pub fn sealing(&self) -> &str {
        self.keys.first().map_or("", |(name, _)| name)
    }

    /// Signs the token of an ad.
    #[must_use]
    pub fn sign(&self, token: &Token) -> String {
        self.signing.first().map(|key| token.sign(key)).unwrap_or_default()
    }

    /// Reads the token of an ad that was signed with a key it knows; none for anything else.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Token> {
        self.signing.iter().find_map(|key| Token::read(key, text))
    }

    /// Seals the code of a redemption.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn seal(&self, redemption: Uuid, code: &str) -> Result<Sealed, Error> {
        let refused = Error::Corrupt("a code cannot be sealed");
        let Some((name, key)) = self.keys.first() else { return Err(refused) };
        let mut body = code.as_bytes().to_vec();
        let aad = Aad::from(redemption.as_bytes());
        let nonce = key.seal_in_place_append_tag(aad, &mut body).map_err(|_| refused)?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut body);
        Ok(Sealed { bytes, key: name.clone() })
    }

    /// Opens the code of a redemption.
    ///
    /// # Errors
    /// When its key is not known, it is another's, or it was changed.
    pub fn open(&self, redemption: Uuid, sealed: &Sealed) -> Result<String, Error> {
        let refused = || Error::Corrupt("a sealed code does not open: another key, or it was changed");
        let (_, key) = self.keys.iter().find(|(name, _)| *name == sealed.key).ok_or_else(refused)?;
        let (nonce, body) = sealed.bytes.split_at_checked(NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut body = body.to_vec();
        let plain = key.open_in_place(nonce, Aad::from(redemption.as_bytes()), &mut body).map_err(|_| refused())?;
        String::from_utf8(plain.to_vec()).map_err(|_| refused())
    }
}

fn signing_key(master: &[u8; KEY_LEN]) -> hmac::Key {
    let mut label = digest::Context::new(&digest::SHA256);
    label.update(b"rewards.ads\0");
    label.update(master);
    hmac::Key::new(hmac::HMAC_SHA256, label.finish().as_ref())
}

fn key(bytes: &[u8; KEY_LEN]) -> Result<RandomizedNonceKey, Error> {
    RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| Error::Corrupt("the key of vouchers is refused"))
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
    use coreloop_core::UserId;

    use super::*;

    fn options(id: &str, key: u8) -> Options {
        let master_key = Some(hex::encode([key; KEY_LEN]).into());
        Options { master_key, master_key_id: id.to_owned(), ..Options::default() }
    }

    #[test]
    fn a_code_opens_only_for_its_redemption_and_with_its_key() {
        let vault = Vault::of(&options("k1", 1), Mode::Production).unwrap();
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sealed = vault.seal(mine, "ABCD-1234").unwrap();
        assert_eq!(vault.open(mine, &sealed).unwrap(), "ABCD-1234");
        assert!(!sealed.bytes.windows(4).any(|part| part == b"ABCD"));
        assert_ne!(vault.seal(mine, "ABCD-1234").unwrap(), sealed);
        assert!(vault.open(other, &sealed).is_err());
        let mut changed = sealed.clone();
        changed.bytes[14] ^= 1;
        assert!(vault.open(mine, &changed).is_err());
        assert!(vault.open(mine, &Sealed { bytes: vec![1; 5], ..sealed.clone() }).is_err());
        assert!(Vault::of(&options("k1", 2), Mode::Production).unwrap().open(mine, &sealed).is_err());
    }

    #[test]
    fn the_old_key_opens_what_it_sealed_and_the_new_one_seals() {
        let old = Vault::of(&options("k1", 1), Mode::Production).unwrap();
        let sealed = old.seal(Uuid::nil(), "code").unwrap();
        let both = Options {
            old_master_key: options("", 1).master_key,
            old_master_key_id: "k1".to_owned(),
            ..options("k2", 2)
        };
        let vault = Vault::of(&both, Mode::Production).unwrap();
        assert_eq!(vault.open(Uuid::nil(), &sealed).unwrap(), "code");
        assert_eq!(vault.seal(Uuid::nil(), "code").unwrap().key, "k2");
    }

    #[test]
    fn the_token_of_an_ad_outlives_a_change_of_the_key() {
        let token = Token { id: Uuid::nil(), user: UserId(Uuid::nil()), expires: 1, ad: "tea".to_owned() };
        let signed = Vault::of(&options("k1", 1), Mode::Production).unwrap().sign(&token);
        let both = Options {
            old_master_key: options("", 1).master_key,
            old_master_key_id: "k1".to_owned(),
            ..options("k2", 2)
        };
        let vault = Vault::of(&both, Mode::Production).unwrap();
        assert_eq!(vault.read(&signed), Some(token.clone()));
        assert_eq!(Vault::of(&options("k2", 2), Mode::Production).unwrap().read(&signed), None);
        assert_ne!(vault.sign(&token), signed, "the new key signs");
    }

    #[test]
    fn production_needs_a_key() {
        assert!(Vault::of(&Options::default(), Mode::Production).is_err());
        assert!(Vault::of(&Options::default(), Mode::Local).is_ok());
    }
}
