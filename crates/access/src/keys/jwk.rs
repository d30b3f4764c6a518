//! JSON Web Keys (RFC 7517, RFC 7518, RFC 8037), public halves only.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::der;
use crate::token::{Algorithm, Purpose};

/// Lengths of an RSA modulus that are accepted: 2048 to 8192 bits (RFC 7518 section 3.3 asks for the least).
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A public key. Private members are not fields here, so they can never be published.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Jwk {
    /// `RSA`, `EC` or `OKP`.
    pub kty: String,
    /// Name.
    pub kid: String,
    /// Algorithm; the only one the key verifies.
    pub alg: Algorithm,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// What the key may sign. A private member name, which RFC 7517 section 4 lets readers ignore.
    #[serde(rename = "coreloop_purpose", default)]
    pub purpose: Purpose,
    /// RSA modulus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// RSA exponent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// Curve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// Curve point, or Ed25519 key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Curve point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

/// A JWKS document.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<Jwk>,
}

impl Jwk {
    /// A JWK of the library's public key encoding: RSAPublicKey DER, an uncompressed point, or 32 bytes.
    pub(crate) fn of_public(kid: &str, alg: Algorithm, purpose: Purpose, public: &[u8]) -> Option<Self> {
        let encode = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let blank = Self {
            kty: String::new(),
            kid: kid.to_owned(),
            alg,
            usage: "sig".to_owned(),
            purpose,
            n: None,
            e: None,
            crv: None,
            x: None,
            y: None,
        };
        match alg {
            Algorithm::Rs256 => {
                let (n, e) = der::rsa_components(public)?;
                Some(Self { kty: "RSA".to_owned(), n: encode(n), e: encode(e), ..blank })
            }
            Algorithm::Es256 => {
                let (x, y) = public.strip_prefix(&[4])?.split_at_checked(32)?;
                let crv = Some("P-256".to_owned());
                (y.len() == 32).then(|| Self { kty: "EC".to_owned(), crv, x: encode(x), y: encode(y), ..blank })
            }
            Algorithm::EdDsa => {
                let crv = Some("Ed25519".to_owned());
                (public.len() == 32).then(|| Self { kty: "OKP".to_owned(), crv, x: encode(public), ..blank })
            }
        }
    }

    /// The key material in the library's encoding; none when members are missing, wrong or of another type.
    pub(crate) fn material(&self) -> Option<Vec<u8>> {
        let decode = |member: &Option<String>| URL_SAFE_NO_PAD.decode(member.as_deref()?).ok();
        if self.usage != "sig" || self.kid.is_empty() {
            return None;
        }
        match (self.alg, self.kty.as_str(), self.crv.as_deref()) {
            (Algorithm::Rs256, "RSA", None) => {
                let modulus = decode(&self.n)?;
                // The library parses shorter ones and would only refuse their signatures.
                RSA_BYTES.contains(&modulus.len()).then_some(())?;
                Some(der::rsa_public(&modulus, &decode(&self.e)?))
            }
            (Algorithm::Es256, "EC", Some("P-256")) => {
                let (x, y) = (decode(&self.x)?, decode(&self.y)?);
                (x.len() == 32 && y.len() == 32).then(|| [&[4][..], &x, &y].concat())
            }
            (Algorithm::EdDsa, "OKP", Some("Ed25519")) => decode(&self.x).filter(|x| x.len() == 32),
            _ => None,
        }
    }

    /// Parses the material once, so that verifying does not.
    pub(crate) fn parse(&self, material: &[u8]) -> Option<ParsedPublicKey> {
        match self.alg {
            Algorithm::Rs256 => ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, material),
            Algorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, material),
            Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, material),
        }
        .ok()
    }
}
