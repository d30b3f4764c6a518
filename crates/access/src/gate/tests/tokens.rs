//! Tokens: the table of bad ones, and hits that must not outlive what made them good.

use coreloop_core::{Clock as _, Reason, SystemClock};
use jiff::SignedDuration;
use proptest::prelude::*;

use super::{AUTHORIZE, GET_ME, ISSUER, LOGOUT, World};
use crate::{
    Denied, HeaderView, Revocation, Role,
    keys::JwkSet,
    revocation::Revoked,
    testing::{Expect, bad_tokens},
    token::{Algorithm, Claims, Invalid, Purpose, Signer},
};

#[tokio::test]
async fn no_bad_token_passes_and_each_gets_its_answer() {
    let world = World::new();
    let table = bad_tokens(&ISSUER, world.now()).unwrap();
    assert!(table.len() >= 80, "{}", table.len());
    // Twice: the first sight must leave nothing behind that helps the second.
    for bad in table.iter().chain(&table) {
        let expected = match bad.expect {
            Expect::Invalid => Reason::TokenInvalid,
            Expect::Expired => Reason::TokenExpired,
            Expect::RoleRequired => Reason::RoleRequired,
        };
        for rpc in [GET_ME, LOGOUT] {
            let got = world.call(rpc, Some(&bad.token)).await.map_err(|denied| denied.reason());
            assert_eq!(got, Err(expected), "{} on {rpc}", bad.name);
        }
        // Where a token is optional, a bad one is refused all the same; a good one of another kind identifies.
        let got = world.call(AUTHORIZE, Some(&bad.token)).await.map_err(|denied| denied.reason());
        let expected = if bad.expect == Expect::RoleRequired { Ok(()) } else { Err(expected) };
        assert_eq!(got, expected, "{} on {AUTHORIZE}", bad.name);
    }
    // Only the good tokens of other kinds, and the one that another service would take, were remembered.
    let good = table.iter().filter(|bad| bad.expect == Expect::RoleRequired).count();
    assert_eq!(world.gate.remembered(), good + 1);
}

#[tokio::test]
async fn every_bad_token_is_bad_in_one_way_only() {
    // The same payload and header as the table's tokens start from are good, so each refusal is for its own reason.
    let world = World::new();
    for (name, token) in ISSUER.good_tokens(world.now()).unwrap() {
        for rpc in [GET_ME, AUTHORIZE, LOGOUT] {
            assert_eq!(world.call(rpc, Some(token.as_bytes())).await, Ok(()), "{name} on {rpc}");
        }
    }
}

#[tokio::test]
async fn a_hit_does_not_outlive_the_token() {
    let world = World::new();
    let token = world.token(&[Role::Standard]);
    assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Ok(()));
    world.clock.advance(SignedDuration::from_secs(929));
    assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Ok(()));
    world.clock.advance(SignedDuration::from_secs(2));
    assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Err(Denied::TokenExpired));
    // The clock set back far before its time does not make it good either.
    world.clock.advance(SignedDuration::from_secs(-100_000));
    assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Err(Denied::TokenInvalid(Invalid::Times)));
}

#[tokio::test]
async fn a_hit_does_not_outlive_its_key() {
    let world = World::new();
    let token = world.token(&[Role::Standard]);
    assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Ok(()));
    // The set read again with the same keys changes nothing.
    world.gate.keys().set(&ISSUER.jwks().unwrap());
    assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Ok(()));
    assert_eq!(world.gate.metrics().cache_hits.get(), 1);

    let without = JwkSet { keys: ISSUER.jwks().unwrap().keys.into_iter().filter(|key| key.kid != "user-1").collect() };
    world.gate.keys().set(&without);
    let unknown = Err(Denied::TokenInvalid(Invalid::UnknownKey));
    assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, unknown);

    // Another key under the same name is another key.
    let mut replaced = without;
    replaced.keys.push(ISSUER.stranger.jwk().unwrap());
    world.gate.keys().set(&replaced);
    assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Err(Denied::TokenInvalid(Invalid::Signature)));
    world.gate.keys().set(&ISSUER.jwks().unwrap());
    assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Ok(()));
}

#[tokio::test]
async fn a_hit_does_not_outlive_a_revocation() {
    let world = World::new();
    let now = world.now();
    for which in ["token", "session", "user"] {
        let claims = ISSUER.access(now, &[Role::Standard]);
        let token = ISSUER.sign(&claims).unwrap();
        let other = world.token(&[Role::Standard]);
        assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Ok(()), "{which}");
        let what = match which {
            "token" => Revoked::Token(claims.id),
            "session" => Revoked::Session(claims.session_id().unwrap()),
            _ => Revoked::User { id: claims.user_id().unwrap(), issued_until: now },
        };
        world.gate.revocations().learn(&Revocation { what, expires_at: claims.expires_at });
        assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Err(Denied::TokenRevoked), "{which}");
        assert_eq!(world.call(AUTHORIZE, Some(token.as_bytes())).await, Err(Denied::TokenRevoked), "{which}");
        assert_eq!(world.call(GET_ME, Some(other.as_bytes())).await, Ok(()), "{which}");
    }
}

#[tokio::test]
async fn a_user_revoked_may_come_back_with_a_later_token() {
    let world = World::new();
    let claims = ISSUER.access(world.now(), &[Role::Standard]);
    let what = Revoked::User { id: claims.user_id().unwrap(), issued_until: claims.issued_at };
    world.gate.revocations().learn(&Revocation { what, expires_at: claims.expires_at });
    let later = Claims { issued_at: claims.issued_at + 1, ..claims.clone() };
    let (old, new) = (ISSUER.sign(&claims).unwrap(), ISSUER.sign(&later).unwrap());
    assert_eq!(world.call(GET_ME, Some(old.as_bytes())).await, Err(Denied::TokenRevoked));
    assert_eq!(world.call(GET_ME, Some(new.as_bytes())).await, Ok(()));
}

#[tokio::test]
async fn forged_tokens_evict_nothing() {
    let world = World::new();
    let good: Vec<String> =
        (0..20).map(|_| ISSUER.user_ed.sign(&ISSUER.access(world.now(), &[Role::Standard])).unwrap()).collect();
    for token in &good {
        assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Ok(()));
    }
    let stranger = Signer::generate("user-ed", Algorithm::EdDsa, Purpose::User).unwrap();
    for _ in 0..3_000 {
        let forged = stranger.sign(&ISSUER.access(world.now(), &[Role::Vip])).unwrap();
        assert_eq!(world.call(GET_ME, Some(forged.as_bytes())).await, Err(Denied::TokenInvalid(Invalid::Signature)));
    }
    let misses = world.gate.metrics().cache_misses.get();
    for token in &good {
        assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Ok(()));
    }
    assert_eq!(world.gate.metrics().cache_misses.get(), misses);
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let world = World::new();
    for _ in 0..1_500 {
        let token = ISSUER.user_ed.sign(&ISSUER.access(world.now(), &[Role::Standard])).unwrap();
        assert_eq!(world.call(GET_ME, Some(token.as_bytes())).await, Ok(()));
    }
    let remembered = world.gate.remembered();
    assert!((500..=1_100).contains(&remembered), "{remembered}");
}

#[tokio::test]
async fn the_header_is_read_strictly() {
    let world = World::new();
    let token = world.token(&[Role::Standard]);
    let decide = async |values: &[String]| {
        let mut headers = http::HeaderMap::new();
        for value in values {
            headers.append(http::header::AUTHORIZATION, value.parse().unwrap());
        }
        super::outcome(world.gate.decide_rpc(GET_ME, &HeaderView::Map(&headers), false).await)
    };
    assert_eq!(decide(&[format!("Bearer {token}")]).await, Ok(()));
    assert_eq!(decide(&[format!("bearer {token}")]).await, Ok(()));
    assert_eq!(decide(&[]).await, Err(Denied::TokenMissing));
    let twice = Err(Denied::TokenInvalid(Invalid::TwoHeaders));
    assert_eq!(decide(&[format!("Bearer {token}"), format!("Bearer {token}")]).await, twice);
    assert_eq!(decide(&[format!("Bearer {token}"), String::new()]).await, twice);
    assert_eq!(decide(&[format!("Bearer {token},Bearer {token}")]).await, twice);
    let scheme = Err(Denied::TokenInvalid(Invalid::Scheme));
    for value in ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Token x", "Bearer\u{a0}x"] {
        assert_eq!(decide(&[value.to_owned()]).await, scheme, "{value:?}");
    }
    assert_eq!(decide(std::slice::from_ref(&token)).await, scheme);
    assert_eq!(decide(&[format!("Bearer  {token}")]).await, scheme);
    assert_eq!(decide(&[format!("Bearer\t{token}")]).await, scheme);
}

#[test]
fn another_library_reads_our_tokens_and_we_read_its() {
    use jsonwebtoken::{Algorithm as Alg, DecodingKey, EncodingKey, Header, Validation};
    let now = SystemClock.unix();
    let claims = ISSUER.access(now, &[Role::Premium]);
    let keys = crate::Keys::fixed(&ISSUER.jwks().unwrap());
    let rules = crate::token::Rules::new(&ISSUER.options);
    for (signer, alg) in [(&ISSUER.user, Alg::RS256), (&ISSUER.user_ec, Alg::ES256), (&ISSUER.user_ed, Alg::EdDSA)] {
        let jwk: jsonwebtoken::jwk::Jwk =
            serde_json::from_value(serde_json::to_value(signer.jwk().unwrap()).unwrap()).unwrap();
        let mut validation = Validation::new(alg);
        validation.set_audience(&["coreloop"]);
        let ours = signer.sign(&claims).unwrap();
        let read = jsonwebtoken::decode::<serde_json::Value>(&ours, &DecodingKey::from_jwk(&jwk).unwrap(), &validation);
        assert_eq!(read.unwrap().claims, claims.to_json());

        let der = signer.to_pkcs8().unwrap();
        let again = Signer::from_pkcs8(signer.kid(), signer.algorithm(), signer.purpose(), &der).unwrap();
        assert_eq!(again.jwk().unwrap(), signer.jwk().unwrap());
        let key = match alg {
            Alg::RS256 => continue,
            Alg::ES256 => EncodingKey::from_ec_der(&der),
            _ => EncodingKey::from_ed_der(&der),
        };
        let header = Header { typ: Some("at+jwt".into()), kid: Some(signer.kid().into()), ..Header::new(alg) };
        let theirs = jsonwebtoken::encode(&header, &claims.to_json(), &key).unwrap();
        assert_eq!(crate::token::verify(theirs.as_bytes(), &rules, &keys, now).unwrap().0, claims);
    }
}

#[test]
fn a_key_signs_only_its_own_kinds() {
    let now = SystemClock.unix();
    assert!(ISSUER.user.sign(&ISSUER.admin(now)).is_err());
    assert!(ISSUER.admin.sign(&ISSUER.access(now, &[Role::Standard])).is_err());
    assert!(ISSUER.internal.sign(&ISSUER.refresh(now)).is_err());
    assert!(ISSUER.user.sign(&ISSUER.refresh(now)).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_panic_and_none_pass(token in proptest::collection::vec(any::<u8>(), 0..300)) {
        let keys = crate::Keys::fixed(&ISSUER.jwks().unwrap());
        let rules = crate::token::Rules::new(&ISSUER.options);
        prop_assert!(crate::token::verify(&token, &rules, &keys, 1_800_000_000).is_err());
    }

    #[test]
    fn no_change_of_one_byte_passes(at in 0_usize..2_000, to in any::<u8>()) {
        let now = 1_800_000_000;
        let keys = crate::Keys::fixed(&ISSUER.jwks().unwrap());
        let rules = crate::token::Rules::new(&ISSUER.options);
        let good = ISSUER.user_ed.sign(&ISSUER.access(now, &[Role::Standard])).unwrap().into_bytes();
        let mut bad = good.clone();
        let at = at % bad.len();
        bad[at] = to;
        prop_assume!(bad != good);
        prop_assert!(crate::token::verify(&bad, &rules, &keys, now).is_err());
    }

    #[test]
    fn claims_survive_the_wire(lives in 1_i64..86_400, roles in 1_u8..15, start in 1_i64..4_000_000_000) {
        let keys = crate::Keys::fixed(&ISSUER.jwks().unwrap());
        let rules = crate::token::Rules::new(&ISSUER.options);
        let roles: Vec<Role> = Role::ALL.into_iter().enumerate().filter(|(i, _)| roles & (1 << i) != 0).map(|(_, r)| r).collect();
        let claims = Claims { expires_at: start + lives, ..ISSUER.access(start, &roles) };
        let token = ISSUER.user_ed.sign(&claims).unwrap();
        prop_assert_eq!(&crate::token::verify(token.as_bytes(), &rules, &keys, start).unwrap().0, &claims);
        prop_assert!(crate::token::verify(token.as_bytes(), &rules, &keys, start + lives + 30).is_err());
        prop_assert!(crate::token::verify(token.as_bytes(), &rules, &keys, start - 31).is_err());
    }
}
