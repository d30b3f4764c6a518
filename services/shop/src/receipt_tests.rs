#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use coreloop_shop_api::v1::{Category, Effect, Product};
use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::order::Origin;

fn purchase() -> Purchase {
    let effect = Effect { code: "XP_BOOST".into(), amount: 2, duration_secs: 86_400 };
    let product = Product {
        product_id: "xp-boost-1d".into(),
        category: Category::Item.into(),
        name: "XP boost for a day".into(),
        price: 100,
        effect: Some(effect),
        active: true,
        ..Product::default()
    };
    Purchase {
        id: Uuid::from_u128(1),
        user: Uuid::from_u128(2),
        body_hash: vec![1; 32],
        product,
        state: PurchaseState::Confirmed,
        price: 100,
        gold: 0,
        bonus: 0,
        promo: String::new(),
        payment_handle: String::new(),
        device_id: String::new(),
        payment_id: String::new(),
        verdict: None,
        said_by: String::new(),
        granting: false,
        claw: None,
        reason: String::new(),
        detail: String::new(),
        balance: Some(900),
        owed: 0,
        receipt: None,
        created_at: Timestamp::UNIX_EPOCH,
        closed_at: Some(Timestamp::from_second(1).unwrap()),
        tries: 0,
        origin: Origin::default(),
    }
}

#[test]
fn a_receipt_covers_what_was_sold_and_what_became_of_it() {
    let key = Key::new(b"secret", 1, &[0; 32]);
    let sold = purchase();
    let receipt = key.sign(&sold);
    assert!(key.fits(&sold, &receipt));
    let effect = |change: fn(&mut Effect)| {
        let mut other = purchase();
        change(other.product.effect.as_mut().unwrap());
        other
    };
    let with = |change: fn(&mut Purchase)| {
        let mut other = purchase();
        change(&mut other);
        other
    };
    for other in [
        effect(|it| it.amount = 1_000_000),
        effect(|it| it.code = "SPINS".into()),
        effect(|it| it.duration_secs = 0),
        with(|it| it.product.name = "XP boost for a year".into()),
        with(|it| it.promo = "HALF".into()),
        with(|it| it.said_by = "operator".into()),
        with(|it| it.reason = "OPERATOR".into()),
        with(|it| it.owed = 1),
        with(|it| it.price = 1),
        with(|it| it.balance = None),
        with(|it| it.user = Uuid::from_u128(3)),
        with(|it| it.closed_at = None),
    ] {
        assert!(!key.fits(&other, &receipt), "{other:?}");
    }
}

#[test]
fn receipts_of_before_are_verified_as_they_were_made() {
    let key = Key::new(b"secret", 1, &[0; 32]);
    let sold = purchase();
    let old = key.sign_hash(FIRST, first(&sold));
    assert!(key.fits(&sold, &old));
    assert!(!key.fits(&Purchase { price: 1, ..purchase() }, &old));
    for version in [0, 3] {
        assert!(!key.fits(&sold, &key.sign_hash(version, hash(&sold))), "{version}");
    }
    // What became of the purchase since does not make it another's.
    for (receipt, other) in [(&old, 2), (&key.sign(&sold), 1)] {
        assert!(key.signed(receipt));
        assert!(!key.signed(&Receipt { hash_version: other, ..receipt.clone() }));
        assert!(!key.signed(&Receipt { hash: vec![0; 32], ..receipt.clone() }));
        assert!(!Key::new(b"secret", 1, &[1; 32]).signed(receipt) && !Key::new(b"secret", 2, &[0; 32]).signed(receipt));
    }
    // One is not the other, whatever it says of itself.
    assert!(!key.fits(&sold, &key.sign_hash(FIRST, hash(&sold))));
}
