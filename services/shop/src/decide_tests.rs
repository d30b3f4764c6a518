#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use coreloop_core::UserId;
use coreloop_shop_api::v1::Product;
use jiff::Timestamp;

use super::*;
use crate::order::{Asked, Way};

fn product(change: impl FnOnce(&mut Product)) -> Arc<Product> {
    let mut product = Product {
        product_id: "thing".into(),
        category: Category::Item.into(),
        price: 100,
        active: true,
        ..Product::default()
    };
    change(&mut product);
    Arc::new(product)
}

fn order(user: u128, key: &str, promo: &str, product: &Arc<Product>) -> Order {
    let asked = Asked { product_id: "thing".into(), key: key.into(), promo: promo.into(), ..Asked::default() };
    Order::new(UserId(Uuid::from_u128(user)), Arc::clone(product), asked, Way::Plain)
}

fn reason(outcome: Result<Decision, Option<Refusal>>) -> ShopReason {
    outcome.unwrap_err().unwrap().reason
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[test]
fn a_key_is_one_purchase_in_one_batch_too() {
    let (mut loaded, thing) = (Loaded::default(), product(|_| {}));
    let first = order(1, "k", "", &thing);
    assert!(matches!(apply(&mut loaded, &first, NOW), Ok(Decision::Opened(_))));
    assert_eq!(apply(&mut loaded, &first, NOW).unwrap(), Decision::Known);
    assert!(matches!(apply(&mut loaded, &order(1, "k", "CODE", &thing), NOW), Err(None)), "another body");
}

#[test]
fn no_more_than_there_are_and_no_more_than_one_may() {
    let limited = product(|it| it.stock = Some(3));
    let mut loaded = Loaded::default();
    loaded.stock.insert("thing".into(), Stock { total: 3, taken: 1 });
    for (user, fits) in [(1, true), (2, true), (3, false)] {
        assert_eq!(apply(&mut loaded, &order(user, "k", "", &limited), NOW).is_ok(), fits, "{user}");
    }
    assert_eq!(reason(apply(&mut loaded, &order(4, "k", "", &limited), NOW)), ShopReason::SoldOut);

    let (mut loaded, once) = (Loaded::default(), product(|it| it.limit_once = true));
    assert!(apply(&mut loaded, &order(1, "a", "", &once), NOW).is_ok());
    assert_eq!(reason(apply(&mut loaded, &order(1, "b", "", &once), NOW)), ShopReason::AlreadyPurchased);
    let (mut loaded, two) = (Loaded::default(), product(|it| it.per_user_limit = 2));
    assert!(apply(&mut loaded, &order(1, "a", "", &two), NOW).is_ok());
    assert!(apply(&mut loaded, &order(1, "b", "", &two), NOW).is_ok());
    assert_eq!(reason(apply(&mut loaded, &order(1, "c", "", &two), NOW)), ShopReason::LimitReached);
    assert!(apply(&mut loaded, &order(2, "c", "", &two), NOW).is_ok());
}

#[test]
fn a_limited_package_without_a_row_of_stock_is_sold_out() {
    let limited = product(|it| it.stock = Some(3));
    assert_eq!(reason(apply(&mut Loaded::default(), &order(1, "k", "", &limited), NOW)), ShopReason::SoldOut);
}

#[test]
fn what_is_not_on_sale_is_not_sold() {
    let second = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    for closed in
        [product(|it| it.active = false), product(|it| it.starts_at = second(1)), product(|it| it.ends_at = second(0))]
    {
        assert_eq!(reason(apply(&mut Loaded::default(), &order(1, "k", "", &closed), NOW)), ShopReason::NotOnSale);
    }
    let open = product(|it| (it.starts_at, it.ends_at) = (second(0), second(1)));
    assert!(apply(&mut Loaded::default(), &order(1, "k", "", &open), NOW).is_ok());
}

fn with(promo: Promo) -> Loaded {
    Loaded { promos: HashMap::from([("CODE".to_owned(), promo)]), ..Loaded::default() }
}

fn percent(value: i64) -> Promo {
    Promo {
        kind: PromoKind::Percent,
        value,
        max_uses: 0,
        per_user: 0,
        used: 0,
        from: i64::MIN,
        to: i64::MAX,
        products: Vec::new(),
    }
}

#[test]
fn a_code_takes_percents_off_and_never_all() {
    for (price, value, expected) in
        [(100, 25, 75), (100, 99, 1), (1, 99, 1), (3, 50, 2), (1_000_000_000, 1, 990_000_000)]
    {
        let thing = product(|it| it.price = price);
        let decided = apply(&mut with(percent(value)), &order(1, "k", "CODE", &thing), NOW).unwrap();
        let Decision::Opened(terms) = decided else { unreachable!() };
        assert_eq!(terms.price, expected, "{price} less {value} %");
    }
}

#[test]
fn a_bonus_is_for_conversions() {
    let bonus = Promo { kind: PromoKind::Bonus, ..percent(50) };
    assert_eq!(
        reason(apply(&mut with(bonus.clone()), &order(1, "k", "CODE", &product(|_| {})), NOW)),
        ShopReason::PromoInvalid
    );
    let gold = product(|it| (it.category, it.gold, it.bonus) = (Category::Conversion.into(), 100, 5));
    let Decision::Opened(terms) = apply(&mut with(bonus), &order(1, "k", "CODE", &gold), NOW).unwrap() else {
        unreachable!()
    };
    assert_eq!((terms.gold, terms.bonus), (100, 55));
}

#[test]
fn a_code_is_used_as_often_as_it_may() {
    let thing = product(|_| {});
    let mut loaded = with(Promo { max_uses: 3, per_user: 2, ..percent(10) });
    assert!(apply(&mut loaded, &order(1, "a", "CODE", &thing), NOW).is_ok());
    assert!(apply(&mut loaded, &order(1, "b", "CODE", &thing), NOW).is_ok());
    assert_eq!(reason(apply(&mut loaded, &order(1, "c", "CODE", &thing), NOW)), ShopReason::PromoUsedUp);
    assert!(apply(&mut loaded, &order(2, "a", "CODE", &thing), NOW).is_ok());
    assert_eq!(reason(apply(&mut loaded, &order(3, "a", "CODE", &thing), NOW)), ShopReason::PromoUsedUp);
    for wrong in [
        Promo { from: 1, ..percent(10) },
        Promo { to: 0, ..percent(10) },
        Promo { products: vec!["other".into()], ..percent(10) },
    ] {
        assert_eq!(reason(apply(&mut with(wrong), &order(1, "a", "CODE", &thing), NOW)), ShopReason::PromoInvalid);
    }
    assert_eq!(reason(apply(&mut Loaded::default(), &order(1, "a", "CODE", &thing), NOW)), ShopReason::PromoInvalid);
}
