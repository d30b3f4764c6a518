//! Tokens: only those that were signed are believed, whatever is done to them.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use coreloop_access::{
    Keys, Role,
    keys::JwkSet,
    testing::{Issuer, bad_tokens},
    token::{Rules, verify},
};

use crate::{
    drive::{FEWER, structured},
    mutate::{Random, mutate},
};

const WORDS: &[&[u8]] = &[
    b"\"alg\":\"none\"",
    b"\"alg\":\"HS256\"",
    b"RS256",
    b"ES256",
    b"EdDSA",
    b"at+jwt",
    b"\"typ\":",
    b"\"kid\":",
    b"user-1",
    b"user-ec",
    b"admin-1",
    b"\"crit\":[\"exp\"]",
    b"\"jku\":\"x\"",
    b"\"exp\":",
    b"\"iat\":",
    b"\"roles\":",
    b"ADMIN",
    b"VIP",
    b"\"sub\":",
    b"\"aud\":",
    b"\"iss\":",
    b"null",
    b"9999999999",
    b"-1",
    b"1e99",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b"\"",
    b"coreloop",
    b"admin",
    b"refresh",
    b"access",
    b".",
    b"=",
    b"\xff",
];

/// Keys of everybody, made once.
pub fn issuer() -> &'static Issuer {
    static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new().unwrap());
    &ISSUER
}

/// Now, for all tests: tokens stay good however long a run takes.
pub const NOW: i64 = 1_795_000_000;

/// Tokens of every kind that are good at [`NOW`]; the same at every call.
pub fn signed() -> &'static [String] {
    static SIGNED: LazyLock<Vec<String>> = LazyLock::new(sign);
    &SIGNED
}

fn sign() -> Vec<String> {
    let issuer = issuer();
    let mut tokens: Vec<String> = issuer.good_tokens(NOW).unwrap().into_iter().map(|(_, token)| token).collect();
    tokens.push(issuer.sign(&issuer.refresh(NOW)).unwrap());
    tokens.push(issuer.sign(&issuer.admin(NOW)).unwrap());
    tokens.push(issuer.sign(&issuer.internal(NOW, "tester", "auth")).unwrap());
    tokens.push(issuer.sign(&issuer.access(NOW, &[Role::Vip])).unwrap());
    tokens
}

/// Changes a token as text, within one of its decoded parts, or by a part of another.
pub fn change(token: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
    let which = random.below(4);
    let Some(part) = parts.get(which) else { return mutate(token, other, WORDS, random) };
    let changed = if random.one_in(3) {
        other.split(|byte| *byte == b'.').nth(which).unwrap_or_default().to_vec()
    } else {
        let mut plain = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        mutate(&mut plain, other, WORDS, random);
        URL_SAFE_NO_PAD.encode(plain).into_bytes()
    };
    let parts: Vec<&[u8]> =
        parts.iter().enumerate().map(|(index, part)| if index == which { changed.as_slice() } else { part }).collect();
    *token = parts.join(&b'.');
}

/// The signature is by the key of this name, as `jsonwebtoken` reads it.
fn signed_by(jwks: &JwkSet, kid: &str, token: &[u8]) -> bool {
    let jwk =
        serde_json::to_value(jwks).unwrap()["keys"].as_array().unwrap().iter().find(|jwk| jwk["kid"] == kid).cloned();
    let key = jsonwebtoken::DecodingKey::from_jwk(&serde_json::from_value(jwk.unwrap()).unwrap()).unwrap();
    let Ok(header) = jsonwebtoken::decode_header(token) else { return false };
    let mut validation = jsonwebtoken::Validation::new(header.alg);
    (validation.validate_exp, validation.validate_aud) = (false, false);
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).is_ok()
}

#[test]
fn tokens() {
    let jwks = issuer().jwks().unwrap();
    let keys = Keys::fixed(&jwks);
    let rules = Rules::new(&issuer().options);
    let bad = bad_tokens(issuer(), NOW).unwrap();
    let corpus = signed()
        .iter()
        .map(|token| token.clone().into_bytes())
        .chain(bad.iter().map(|bad| bad.token.clone()))
        .collect();
    let good: HashSet<Vec<u8>> = signed().iter().map(|token| token.clone().into_bytes()).collect();
    let believed = Mutex::new(HashSet::new());
    structured(("tokens", FEWER), corpus, change, |token, _| match verify(token, &rules, &keys, NOW) {
        Ok((_, key)) => {
            // Undoing what is wrong with a token of the table makes one that was signed: another library tells.
            let is_signed = good.contains(token) || signed_by(&jwks, key.kid(), token);
            assert!(is_signed, "a token that nobody signed is believed, by {}", key.kid());
            believed.lock().unwrap_or_else(PoisonError::into_inner).insert(token.to_vec());
            true
        }
        Err(_) => false,
    });
    let believed = believed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(good.is_subset(&believed), "a good token was never believed");
}
