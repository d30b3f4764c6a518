//! Bad tokens. Each differs from a good access token by what its name says.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::Issuer;
use crate::{
    Role,
    token::{Claims, SignError, Signer, TokenKind},
};

/// What a gate must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// 401 `TOKEN_INVALID`.
    Invalid,
    /// 401 `TOKEN_EXPIRED`.
    Expired,
    /// 403 `ROLE_REQUIRED` on an RPC for signed-in users: a good token of another kind.
    RoleRequired,
}

/// A token that must pass nowhere a signed-in user is needed.
#[derive(Debug, Clone)]
pub struct Bad {
    /// What is wrong with it.
    pub name: String,
    /// The token; not always text, and not always fit for a header.
    pub token: Vec<u8>,
    /// The answer.
    pub expect: Expect,
}

impl Bad {
    /// The token as a header could carry it, when it could.
    #[must_use]
    pub fn as_header(&self) -> Option<http::HeaderValue> {
        http::HeaderValue::from_bytes(&[b"Bearer ", self.token.as_slice()].concat()).ok()
    }
}

/// The table: more than eighty bad tokens as of `now` (Unix seconds).
///
/// # Errors
/// When the library refuses to sign.
pub fn bad_tokens(issuer: &Issuer, now: i64) -> Result<Vec<Bad>, SignError> {
    let mut maker = Maker::new(issuer, now);
    maker.headers()?;
    maker.algorithms()?;
    maker.missing_and_mistyped()?;
    maker.values()?;
    maker.times()?;
    maker.kinds()?;
    maker.shapes()?;
    Ok(maker.bad)
}

struct Maker<'a> {
    issuer: &'a Issuer,
    now: i64,
    /// Payload of a good token.
    payload: Value,
    bad: Vec<Bad>,
}

impl<'a> Maker<'a> {
    fn new(issuer: &'a Issuer, now: i64) -> Self {
        let payload = issuer.access(now, &[Role::Standard]).to_json();
        Self { issuer, now, payload, bad: Vec::new() }
    }

    fn put(&mut self, name: impl Into<String>, token: impl Into<Vec<u8>>, expect: Expect) {
        self.bad.push(Bad { name: name.into(), token: token.into(), expect });
    }

    /// Signs with the user key, whatever header and payload say.
    fn signed(&mut self, name: impl Into<String>, header: &str, payload: &str) -> Result<(), SignError> {
        let token = self.issuer.user.sign_parts(header.as_bytes(), payload.as_bytes())?;
        self.put(name, token, Expect::Invalid);
        Ok(())
    }

    fn with_header(&mut self, name: &str, header: &Value) -> Result<(), SignError> {
        let payload = self.payload.to_string();
        self.signed(name, &header.to_string(), &payload)
    }

    /// Signs a good header and a payload in which `claim` is `value`, or is missing.
    fn with_claim(&mut self, name: impl Into<String>, claim: &str, value: Option<Value>) -> Result<(), SignError> {
        let mut payload: Map<String, Value> = self.payload.as_object().cloned().unwrap_or_default();
        payload.remove(claim);
        if let Some(value) = value {
            payload.insert(claim.to_owned(), value);
        }
        let header = self.header().to_string();
        self.signed(name, &header, &Value::Object(payload).to_string())
    }

    fn header(&self) -> Value {
        json!({ "alg": "RS256", "typ": "at+jwt", "kid": self.issuer.user.kid() })
    }

    fn headers(&mut self) -> Result<(), SignError> {
        let extras = [
            ("jku", json!("https://evil.example/jwks.json")),
            ("x5u", json!("https://evil.example/cert.pem")),
            ("x5c", json!(["MIIB"])),
            ("x5t", json!("AAAA")),
            ("jwk", json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" })),
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("zip", json!("DEF")),
            ("cty", json!("JWT")),
            ("enc", json!("A256GCM")),
        ];
        for (name, value) in extras {
            let mut header = self.header();
            if let Some(map) = header.as_object_mut() {
                map.insert(name.to_owned(), value.clone());
            }
            self.with_header(&format!("header with {name} {value}"), &header)?;
        }
        let kid = self.issuer.user.kid();
        let kids = [
            ("unknown kid", json!("nobody")),
            ("empty kid", json!("")),
            ("kid as a path", json!("../../../../dev/null")),
            ("kid as SQL", json!("x' union select 'key' --")),
            ("kid as a URL", json!("https://evil.example/key")),
            ("kid with a NUL", json!(format!("{kid}\0"))),
            ("kid in another case", json!(kid.to_uppercase())),
            ("kid with a space", json!(format!("{kid} "))),
            ("kid as a number", json!(1)),
            ("kid as a list", json!([kid])),
            ("kid null", Value::Null),
        ];
        for (name, kid) in kids {
            self.with_header(name, &json!({ "alg": "RS256", "typ": "at+jwt", "kid": kid }))?;
        }
        self.with_header("no kid", &json!({ "alg": "RS256", "typ": "at+jwt" }))?;
        for typ in ["JWT", "at+JWT", "application/at+jwt", "access", "", "at+jwt "] {
            self.with_header(&format!("typ {typ:?}"), &json!({ "alg": "RS256", "typ": typ, "kid": kid }))?;
        }
        self.with_header("no typ", &json!({ "alg": "RS256", "kid": kid }))?;
        let payload = self.payload.to_string();
        let twice = format!(r#"{{"alg":"RS256","alg":"RS256","typ":"at+jwt","kid":"{kid}"}}"#);
        self.signed("alg twice", &twice, &payload)?;
        let twice = format!(r#"{{"alg":"RS256","typ":"at+jwt","kid":"nobody","kid":"{kid}"}}"#);
        self.signed("kid twice", &twice, &payload)?;
        self.signed("header is a list", r#"["RS256"]"#, &payload)?;
        self.signed("header is empty JSON", "{}", &payload)?;
        self.signed("header is no JSON", "alg=RS256", &payload)
    }

    fn algorithms(&mut self) -> Result<(), SignError> {
        let issuer = self.issuer;
        let kid = issuer.user.kid();
        for alg in [
            "none", "None", "NONE", "nOnE", "", "HS256", "RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256", "RS256 ",
        ] {
            self.with_header(
                &format!("alg {alg:?}, RSA signature"),
                &json!({ "alg": alg, "typ": "at+jwt", "kid": kid }),
            )?;
        }
        self.with_header("no alg", &json!({ "typ": "at+jwt", "kid": kid }))?;
        let none = unsigned(&json!({ "alg": "none", "typ": "at+jwt", "kid": kid }), &self.payload);
        self.put("alg none, empty signature", format!("{none}."), Expect::Invalid);
        self.put("alg none, no third part", none, Expect::Invalid);
        let rs = unsigned(&self.header(), &self.payload);
        self.put("alg RS256, empty signature", format!("{rs}."), Expect::Invalid);

        // The public key as an HMAC secret: the confusion that pinning the algorithm to the key ends.
        let input = unsigned(&json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid }), &self.payload);
        let jwk = issuer.user.jwk()?;
        let secrets = [jwk.n.clone().unwrap_or_default().into_bytes(), jwk.material().unwrap_or_default(), Vec::new()];
        for (secret, name) in secrets.iter().zip(["the modulus", "the DER", "nothing"]) {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
            let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
            self.put(format!("HS256 with {name} as secret"), token, Expect::Invalid);
        }
        // A key's signature under another key's name.
        let payload = self.payload.to_string();
        let mut cross = |signer: &Signer, alg: &str, kid: &str, name: &str| -> Result<(), SignError> {
            let header = json!({ "alg": alg, "typ": "at+jwt", "kid": kid }).to_string();
            let token = signer.sign_parts(header.as_bytes(), payload.as_bytes())?;
            self.put(name, token, Expect::Invalid);
            Ok(())
        };
        cross(&issuer.stranger, "RS256", "user-1", "signed by a stranger under our kid")?;
        cross(&issuer.user_ec, "ES256", "user-1", "EC signature under the RSA kid")?;
        cross(&issuer.user_ec, "RS256", "user-ec", "EC kid, alg RS256")?;
        cross(&issuer.user_ed, "EdDSA", "user-ec", "Ed25519 signature under the EC kid")?;
        cross(&issuer.admin, "RS256", "admin-1", "an access token signed by the admin key")?;
        cross(&issuer.internal, "ES256", "internal-1", "an access token signed by the internal key")
    }

    fn missing_and_mistyped(&mut self) -> Result<(), SignError> {
        for claim in ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "roles", "typ", "sid"] {
            self.with_claim(format!("no {claim}"), claim, None)?;
            self.with_claim(format!("{claim} null"), claim, Some(Value::Null))?;
        }
        for claim in ["iss", "sub", "aud", "jti", "typ", "sid"] {
            self.with_claim(format!("{claim} a number"), claim, Some(json!(7)))?;
            self.with_claim(format!("{claim} a list"), claim, Some(json!(["coreloop"])))?;
            self.with_claim(format!("{claim} an object"), claim, Some(json!({})))?;
        }
        for claim in ["exp", "iat", "nbf"] {
            let good = self.payload.get(claim).and_then(Value::as_i64).unwrap_or_default();
            self.with_claim(format!("{claim} a string"), claim, Some(json!(good.to_string())))?;
            self.with_claim(format!("{claim} a fraction"), claim, Some(json!(good as f64 + 0.5)))?;
            self.with_claim(format!("{claim} negative"), claim, Some(json!(-good)))?;
            self.with_claim(format!("{claim} beyond range"), claim, Some(json!(i64::MAX)))?;
            self.with_claim(format!("{claim} in milliseconds"), claim, Some(json!(good * 1_000)))?;
            self.with_claim(format!("{claim} true"), claim, Some(json!(true)))?;
        }
        for claim in ["sub", "exp", "aud", "roles"] {
            let value = self.payload.get(claim).cloned().unwrap_or_default();
            let text = self.payload.to_string();
            let twice = format!("{},\"{claim}\":{value}}}", text.trim_end_matches('}'));
            let header = self.header().to_string();
            self.signed(format!("{claim} twice"), &header, &twice)?;
        }
        Ok(())
    }

    fn values(&mut self) -> Result<(), SignError> {
        let cases = [
            ("iss", json!("https://evil.example")),
            ("iss", json!("")),
            ("iss", json!(format!("{}/", self.issuer.options.issuer))),
            ("aud", json!("coreloop-admin")),
            ("aud", json!("auth")),
            ("aud", json!("")),
            ("aud", json!(["coreloop"])),
            ("typ", json!("refresh")),
            ("typ", json!("admin")),
            ("typ", json!("Access")),
            ("sub", json!("")),
            ("sub", json!("admin")),
            ("sub", json!("00000000-0000-0000-0000-000000000000")),
            ("sub", json!("0198C0DE-0000-7000-8000-00000000ABCD")),
            ("sub", json!("0198c0de000070008000000000000001")),
            ("sub", json!("{0198c0de-0000-7000-8000-000000000001}")),
            ("sid", json!("")),
            ("sid", json!("00000000-0000-0000-0000-000000000000")),
            ("jti", json!("1")),
            ("jti", json!("00000000-0000-0000-0000-000000000000")),
            ("jti", json!("6b1f2f8e-3c7e-4d8a-9b57-0f3f0e6c2a11")),
            ("roles", json!([])),
            ("roles", json!("STANDARD")),
            ("roles", json!(["standard"])),
            ("roles", json!(["STANDARD", "ROOT"])),
            ("roles", json!(["STANDARD", "STANDARD"])),
            ("roles", json!(["STANDARD", "INTERNAL"])),
            ("roles", json!([["STANDARD"]])),
            ("roles", json!({ "0": "STANDARD" })),
        ];
        for (claim, value) in cases {
            self.with_claim(format!("{claim} {value}"), claim, Some(value))?;
        }
        Ok(())
    }

    fn times(&mut self) -> Result<(), SignError> {
        let (issuer, now) = (self.issuer, self.now);
        let good = issuer.access(now, &[Role::Standard]);
        let mut put = |name: &str, iat: i64, nbf: i64, exp: i64, expect: Expect| -> Result<(), SignError> {
            let claims = Claims { issued_at: iat, not_before: nbf, expires_at: exp, ..good.clone() };
            let token = issuer.user.sign(&claims)?;
            self.put(name, token, expect);
            Ok(())
        };
        put("ended a second beyond the leeway", now - 900, now - 900, now - 31, Expect::Expired)?;
        put("ended a day ago", now - 87_000, now - 87_000, now - 86_400, Expect::Expired)?;
        put("issued in the future", now + 120, now, now + 900, Expect::Invalid)?;
        put("not valid yet", now, now + 120, now + 900, Expect::Invalid)?;
        put("lives a year", now, now, now + 365 * 86_400, Expect::Invalid)?;
        put("issued long ago, ends now", now - 2 * 86_400, now, now + 60, Expect::Invalid)?;
        put("ends before it begins", now, now, now - 10, Expect::Invalid)?;
        put("issued at zero", 0, 0, now + 60, Expect::Invalid)?;
        put("valid only from its end", now, now + 20, now + 20, Expect::Invalid)?;
        put("valid long before it was issued", now, now - 3_600, now + 900, Expect::Invalid)
    }

    fn kinds(&mut self) -> Result<(), SignError> {
        let (issuer, now) = (self.issuer, self.now);
        self.put("a refresh token", issuer.sign(&issuer.refresh(now))?, Expect::Invalid);
        self.put("an admin's token", issuer.sign(&issuer.admin(now))?, Expect::RoleRequired);
        self.put(
            "an internal token for this service",
            issuer.sign(&issuer.internal(now, "edge", "auth"))?,
            Expect::RoleRequired,
        );
        self.put(
            "an internal token for another service",
            issuer.sign(&issuer.internal(now, "edge", "wallet"))?,
            Expect::Invalid,
        );
        // Kinds by claim, by header and by audience in every contradiction, signed by the user key.
        let access = issuer.access(now, &[Role::Standard]);
        for kind in TokenKind::ALL {
            for audience in ["coreloop", "coreloop-admin", "auth"] {
                let claims = Claims { kind, audience: audience.into(), ..access.clone() };
                if kind == TokenKind::Access && audience == "coreloop" {
                    continue;
                }
                let payload = claims.to_json().to_string();
                let name = format!("typ claim {} with audience {audience} as access", kind.claim_typ());
                let header = self.header().to_string();
                self.signed(name, &header, &payload)?;
                let header = json!({ "alg": "RS256", "typ": kind.header_typ(), "kid": issuer.user.kid() });
                let name = format!("{} with audience {audience} by the user key", kind.header_typ());
                self.signed(name, &header.to_string(), &payload)?;
            }
        }
        let none = Claims { roles: crate::Roles::NONE.with(Role::Standard), ..issuer.admin(now) };
        self.put("an admin's token without the role", issuer.admin.sign(&none)?, Expect::Invalid);
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "a table, two lines longer than a function may be")]
    fn shapes(&mut self) -> Result<(), SignError> {
        let good = self.issuer.user.sign(&self.issuer.access(self.now, &[Role::Standard]))?;
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else { return Err(SignError::Sign) };
        let flipped: String = flip_first(signature);
        let longer_payload = format!("{}A", payload);
        let shapes: Vec<(&str, Vec<u8>)> = vec![
            ("one part", header.as_bytes().to_vec()),
            ("two parts", format!("{header}.{payload}").into()),
            ("four parts", format!("{good}.{signature}").into()),
            ("five parts, as JWE", format!("{good}.{signature}.{signature}").into()),
            ("a dot before", format!(".{good}").into()),
            ("a dot after", format!("{good}.").into()),
            ("two dots inside", format!("{header}..{payload}.{signature}").into()),
            ("only dots", b"..".to_vec()),
            ("empty payload", format!("{header}..{signature}").into()),
            ("empty header", format!(".{payload}.{signature}").into()),
            ("signature cut by one", good.get(..good.len() - 1).unwrap_or_default().into()),
            ("signature cut by half", good.get(..good.len() - signature.len() / 2).unwrap_or_default().into()),
            ("signature longer", format!("{good}AAAA").into()),
            ("signature flipped", format!("{header}.{payload}.{flipped}").into()),
            ("payload flipped", format!("{header}.{}.{signature}", flip_first(payload)).into()),
            ("payload longer", format!("{header}.{longer_payload}.{signature}").into()),
            ("signature padded", format!("{good}==").into()),
            ("payload padded", format!("{header}.{payload}=.{signature}").into()),
            ("white space inside", format!("{header}. {payload}.{signature}").into()),
            ("white space after", format!("{good} ").into()),
            ("a line end after", format!("{good}\n").into()),
            ("a tab before", format!("\t{good}").into()),
            ("a NUL after", format!("{good}\0").into()),
            ("two tokens", format!("{good} {good}").into()),
            ("two tokens joined by a comma", format!("{good},{good}").into()),
            (
                "standard base64 letters",
                format!("{header}.{payload}.{}", signature.replace('_', "/").replace('-', "+") + "+").into(),
            ),
            ("quoted", format!("\"{good}\"").into()),
            ("percent-encoded dot", format!("{header}%2E{payload}.{signature}").into()),
            ("not UTF-8", [good.as_bytes(), &[0xff, 0xfe]].concat()),
            ("high bytes alone", vec![0xc3, 0x28, 0xa0, 0xa1]),
            ("a fullwidth dot", format!("{header}．{payload}．{signature}").into()),
            ("huge", "A".repeat(64 * 1024).into()),
            ("huge with dots", format!("{}.{payload}.{signature}", "A".repeat(8 * 1024)).into()),
            ("JSON instead of a token", self.payload.to_string().into()),
            ("a word", b"undefined".to_vec()),
        ];
        for (name, token) in shapes {
            self.put(name, token, Expect::Invalid);
        }
        let header = self.header().to_string();
        for (name, payload) in [
            ("payload is a list", "[]"),
            ("payload is empty JSON", "{}"),
            ("payload is a string", "\"x\""),
            ("payload is no JSON", "sub=me"),
            ("payload is null", "null"),
        ] {
            self.signed(name, &header, payload)?;
        }
        let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
        self.signed("payload nested deep", &header, &deep)?;
        let big = json!({ "x": "y".repeat(6_000) }).to_string();
        self.signed("payload too large", &header, &big)
    }
}

fn unsigned(header: &Value, payload: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload.to_string()))
}

fn flip_first(part: &str) -> String {
    let (first, rest) = part.split_at(1.min(part.len()));
    format!("{}{rest}", if first == "A" { "B" } else { "A" })
}
