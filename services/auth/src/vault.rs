//! Sealing of what the database must keep but not know: AES-256-GCM (NIST SP 800-38D) with a fresh random nonce.
//!
//! A sealed value is `nonce (12) ‖ ciphertext ‖ tag (16)`. What it belongs to (a kid, a user id) is its associated data,
//! so a value moved to another row does not open.

use std::{io::Write as _, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest, rand,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use coreloop_service::Mode;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Error, Options};

/// Bytes of a key.
pub const KEY_LEN: usize = 32;

/// Seals and opens with one key.
pub struct Vault(RandomizedNonceKey);

impl Vault {
    /// A vault of the master key.
    ///
    /// # Errors
    /// When the library refuses the key.
    pub fn new(key: &[u8; KEY_LEN]) -> Result<Self, Error> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(Self).map_err(|_| Error::Internal("the key is refused".into()))
    }

    /// A vault whose key only the holder of `secret` can make again: SHA-256 over a label and the secret.
    /// `secret` must itself be unguessable (a signed token, never a password).
    ///
    /// # Errors
    /// When the library refuses the key.
    pub fn of_secret(label: &str, secret: &[u8]) -> Result<Self, Error> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(label.as_bytes());
        context.update(&[0]);
        context.update(secret);
        let mut key = [0; KEY_LEN];
        key.copy_from_slice(context.finish().as_ref());
        Self::new(&key)
    }

    /// Seals `plain` for `belongs_to`.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn seal(&self, belongs_to: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut body = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(belongs_to.as_bytes()), &mut body)
            .map_err(|_| Error::Internal("sealing failed".into()))?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what [`Vault::seal`] sealed for `belongs_to`.
    ///
    /// # Errors
    /// When it was sealed with another key, for something else, or was changed.
    pub fn open(&self, belongs_to: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let refused = || Error::Internal("a sealed value does not open: another master key, or it was changed".into());
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut body = body.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(belongs_to.as_bytes()), &mut body).map_err(|_| refused())?;
        Ok(plain.to_vec())
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

/// The master key: from settings, or in local mode one that is made on first start and kept in the data directory.
///
/// # Errors
/// When there is none in production, or the local file cannot be read or written.
pub fn master_key(options: &Options, mode: Mode) -> Result<[u8; KEY_LEN], Error> {
    if let Some(text) = &options.master_key {
        return parse_key(text)
            .ok_or_else(|| Error::Internal("auth.master_key is not 32 bytes in hex or base64".into()));
    }
    if mode == Mode::Production {
        return Err(Error::Internal("auth.master_key is required in production".into()));
    }
    let path = Path::new(&options.data_dir).join("master.key");
    local_key(&path).map_err(|error| Error::Internal(format!("the local master key {}: {error}", path.display())))
}

/// Reads the key of a local installation, or makes it. Of several that start at once one makes it.
fn local_key(path: &Path) -> std::io::Result<[u8; KEY_LEN]> {
    if !path.exists() {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let key = random::<KEY_LEN>().map_err(std::io::Error::other)?;
        // Written aside and linked in place: nobody reads half a key, and the first one stays.
        let draft = path.with_extension(hex::encode(key.get(..4).unwrap_or_default()));
        write_private(&draft, &hex::encode(key))?;
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(path)?;
    parse_key(&text.into())
        .ok_or_else(|| std::io::Error::other("is not a key; remove it, and the local data it sealed"))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// Reads a key from settings: 32 bytes in hex or base64.
#[must_use]
pub fn parse_key(text: &SecretString) -> Option<[u8; KEY_LEN]> {
    let text = text.expose_secret().trim();
    let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok())?;
    bytes.try_into().ok()
}

/// Fresh random bytes.
///
/// # Errors
/// When the machine has no randomness.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::Internal("no randomness".into()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_and_for_its_owner() {
        let vault = Vault::new(&[7; KEY_LEN]).unwrap();
        let mut sealed = vault.seal("kid-1", b"secret").unwrap();
        assert_eq!(vault.open("kid-1", &sealed).unwrap(), b"secret");
        assert!(vault.open("kid-2", &sealed).is_err());
        assert!(Vault::new(&[8; KEY_LEN]).unwrap().open("kid-1", &sealed).is_err());
        sealed[20] ^= 1;
        assert!(vault.open("kid-1", &sealed).is_err());
        assert!(vault.open("kid-1", &sealed[..5]).is_err());
    }

    #[test]
    fn the_same_plain_text_never_seals_the_same() {
        let vault = Vault::of_secret("test", b"token").unwrap();
        assert_ne!(vault.seal("", b"x").unwrap(), vault.seal("", b"x").unwrap());
    }

    #[test]
    fn a_local_key_is_made_once_and_production_makes_none() {
        let dir = std::env::temp_dir().join(format!("coreloop-vault-{}", hex::encode(random::<8>().unwrap())));
        let options = Options { data_dir: dir.to_string_lossy().into_owned(), ..Options::default() };
        assert!(master_key(&options, Mode::Production).is_err());
        let first = master_key(&options, Mode::Local).unwrap();
        assert_eq!(master_key(&options, Mode::Local).unwrap(), first);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn keys_are_read_from_hex_and_base64_and_refused_at_another_length() {
        assert_eq!(parse_key(&"07".repeat(32).into()), Some([7; 32]));
        assert_eq!(parse_key(&STANDARD.encode([7; 32]).into()), Some([7; 32]));
        assert_eq!(parse_key(&"07".repeat(31).into()), None);
        assert_eq!(parse_key(&"not a key".to_owned().into()), None);
    }
}
