//! Signing keys. The private half lives only in the auth service (and in tests).

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Claims, jws};
use crate::keys::Jwk;

/// Signature algorithms, by their JOSE names. There is no symmetric one and no `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits or more. The default: cheapest to verify.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Name in the `alg` header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// What a key may sign. A key has one purpose, so a leaked user key makes no administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Access and refresh tokens of users.
    #[default]
    User,
    /// Tokens of administrators.
    Admin,
    /// Tokens of machines.
    Internal,
}

impl Purpose {
    /// Name in the `coreloop_purpose` member of a JWK.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
            Self::Internal => "internal",
        }
    }
}

/// A key could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The library refused to make a key.
    #[error("a signing key could not be made")]
    Generate,
    /// The stored key is not PKCS#8 of its algorithm.
    #[error("the signing key cannot be read")]
    Unreadable,
    /// The library refused to sign.
    #[error("signing failed")]
    Sign,
    /// The key is for another kind of token.
    #[error("the key may not sign this kind of token")]
    WrongPurpose,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A private key that signs tokens of one purpose, parsed once.
pub struct Signer {
    kid: String,
    purpose: Purpose,
    pair: Pair,
    random: SystemRandom,
}

impl Signer {
    /// Makes a fresh key. RSA takes tens of milliseconds or more: call it off the request path.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn generate(kid: impl Into<String>, algorithm: Algorithm, purpose: Purpose) -> Result<Self, SignError> {
        let pair = match algorithm {
            Algorithm::Rs256 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SignError::Generate)?),
            Algorithm::Es256 => {
                Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| SignError::Generate)?)
            }
            Algorithm::EdDsa => Pair::Ed(Ed25519KeyPair::generate().map_err(|_| SignError::Generate)?),
        };
        Ok(Self { kid: kid.into(), purpose, pair, random: SystemRandom::new() })
    }

    /// Reads a key that [`Signer::to_pkcs8`] wrote.
    ///
    /// # Errors
    /// When `pkcs8` is no PKCS#8 key of `algorithm`.
    pub fn from_pkcs8(
        kid: impl Into<String>,
        algorithm: Algorithm,
        purpose: Purpose,
        pkcs8: &[u8],
    ) -> Result<Self, SignError> {
        let pair = match algorithm {
            Algorithm::Rs256 => Pair::Rsa(RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| SignError::Unreadable)?),
            Algorithm::Es256 => Pair::Ec(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| SignError::Unreadable)?,
            ),
            Algorithm::EdDsa => Pair::Ed(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| SignError::Unreadable)?),
        };
        Ok(Self { kid: kid.into(), purpose, pair, random: SystemRandom::new() })
    }

    /// The private key in PKCS#8 DER, in the clear: encrypt it before it is stored.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Rsa(key) => key.as_der().map(|der| der.as_ref().to_vec()).map_err(|_| SignError::Unreadable),
            Pair::Ec(key) => key.to_pkcs8v1().map(|der| der.as_ref().to_vec()).map_err(|_| SignError::Unreadable),
            Pair::Ed(key) => key.to_pkcs8v1().map(|der| der.as_ref().to_vec()).map_err(|_| SignError::Unreadable),
        }
    }

    /// Name of the key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Algorithm of the key.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rsa(_) => Algorithm::Rs256,
            Pair::Ec(_) => Algorithm::Es256,
            Pair::Ed(_) => Algorithm::EdDsa,
        }
    }

    /// What the key may sign.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The public half, to be published.
    ///
    /// # Errors
    /// When the library's encoding of the public key is not as documented.
    pub fn jwk(&self) -> Result<Jwk, SignError> {
        let public = match &self.pair {
            Pair::Rsa(key) => key.public_key().as_ref(),
            Pair::Ec(key) => key.public_key().as_ref(),
            Pair::Ed(key) => key.public_key().as_ref(),
        };
        Jwk::of_public(&self.kid, self.algorithm(), self.purpose, public).ok_or(SignError::Unreadable)
    }

    /// Signs `claims`.
    ///
    /// # Errors
    /// [`SignError::WrongPurpose`] when the key is for another kind.
    pub fn sign(&self, claims: &Claims) -> Result<String, SignError> {
        if claims.kind.purpose() != self.purpose {
            return Err(SignError::WrongPurpose);
        }
        let header =
            serde_json::json!({ "alg": self.algorithm().as_str(), "typ": claims.kind.header_typ(), "kid": self.kid });
        self.sign_parts(header.to_string().as_bytes(), claims.to_json().to_string().as_bytes())
    }

    /// Signs a header and a payload as they are. For tests that need tokens which [`Signer::sign`] would not make.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn sign_parts(&self, header: &[u8], payload: &[u8]) -> Result<String, SignError> {
        let mut token = jws::signing_input(header, payload);
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Rsa(key) => {
                let mut out = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut out).map_err(|_| SignError::Sign)?;
                Ok(out)
            }
            Pair::Ec(key) => key.sign(&self.random, message).map(|s| s.as_ref().to_vec()).map_err(|_| SignError::Sign),
            Pair::Ed(key) => key.try_sign(message).map(|s| s.as_ref().to_vec()).map_err(|_| SignError::Sign),
        }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm())
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}
