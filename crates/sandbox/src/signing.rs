//! The RSA keys that ID tokens are signed with: the published one, and an impostor's that never is.

use std::sync::OnceLock;

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::Error;

/// An RSA key with its id.
pub(crate) struct SigningKey {
    kid: String,
    key: EncodingKey,
    modulus: String,
    exponent: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a 2048-bit key.
    pub(crate) fn generate(kid: &str) -> Result<Self, Error> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::Key)?;
        let der: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| Error::Key)?;
        let public = pair.public_key();
        Ok(Self {
            kid: kid.to_owned(),
            key: EncodingKey::from_rsa_der(pkcs1(der.as_ref()).ok_or(Error::Key)?),
            modulus: URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
            exponent: URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
        })
    }

    /// The public half as Google publishes it.
    pub(crate) fn jwk(&self) -> Value {
        json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": self.modulus, "e": self.exponent })
    }

    /// Signs with RS256, saying `kid` (another key's, should the caller want to lie).
    pub(crate) fn sign(&self, kid: &str, claims: &Value) -> Result<String, Error> {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| Error::Key)
    }

    /// Id of the key.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// The modulus as published, which an algorithm-confusion attack uses as an HMAC secret.
    pub(crate) fn modulus(&self) -> &str {
        &self.modulus
    }
}

/// The PKCS#1 key inside a PKCS#8 envelope: the last octet string (RFC 5208). jsonwebtoken reads PKCS#1.
fn pkcs1(pkcs8: &[u8]) -> Option<&[u8]> {
    // SEQUENCE { INTEGER 0, SEQUENCE { rsaEncryption, NULL }, OCTET STRING { key } } with two-byte lengths.
    pkcs8.get(26..)
}

/// The published key and the impostor's. Made when first asked for, for it takes a while.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    published: OnceLock<SigningKey>,
    impostor: OnceLock<SigningKey>,
}

impl Keys {
    /// The key that the JWKS names.
    pub(crate) fn published(&self) -> Result<&SigningKey, Error> {
        Self::get(&self.published, "sandbox-google-1")
    }

    /// A key that no JWKS names.
    pub(crate) fn impostor(&self) -> Result<&SigningKey, Error> {
        Self::get(&self.impostor, "sandbox-impostor")
    }

    fn get<'k>(slot: &'k OnceLock<SigningKey>, kid: &str) -> Result<&'k SigningKey, Error> {
        if slot.get().is_none() {
            // Two at once make two keys and keep one.
            let _ = slot.set(SigningKey::generate(kid)?);
        }
        slot.get().ok_or(Error::Key)
    }
}
