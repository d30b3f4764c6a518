//! `SpendMany`: those who spend at the same time, each as alone.

use coreloop_testkit::run;
use coreloop_wallet_api::v1::{
    BatchResult, SpendManyRequest, SpendManyResponse, SpendOne, SpendRequest, batch_result::Outcome,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::stage::{MESH, Shop, balance, reason, somebody, spend};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

impl Shop {
    async fn spend_many(&self, replica: usize, spends: Vec<SpendOne>) -> Result<Vec<BatchResult>, Status> {
        let asked = SpendManyRequest { spends };
        Ok(self.ask::<_, SpendManyResponse>(replica, "SpendMany", &asked).await?.results)
    }
}

fn one(spend: SpendRequest) -> SpendOne {
    SpendOne { spend: Some(spend), ..SpendOne::default() }
}

/// What became of it, in a word.
fn word(result: &BatchResult) -> &str {
    match result.outcome.as_ref().expect("one or the other") {
        Outcome::Posting(_) => "posted",
        Outcome::Refusal(refusal) => &refusal.reason,
    }
}

#[test]
fn each_is_as_alone_and_a_refused_one_leaves_the_others_be() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice, bob) = (Shop::of(mesh).await, somebody(), somebody());
        shop.grant(&alice, 100).await.unwrap();
        shop.grant(&bob, 10).await.unwrap();
        let (first, poor) = (spend(&alice, 60), spend(&bob, 11));
        let traced = SpendOne {
            traceparent: format!("00-{TRACE}-00f067aa0ba902b7-00"),
            request_id: "a purchase".to_owned(),
            ..one(spend(&bob, 10))
        };
        let other = SpendRequest { amount: 61, ..first.clone() };
        let many = [one(first.clone()), one(poor.clone()), traced, one(first.clone()), one(other)];
        let results = shop.spend_many(0, many.to_vec()).await.unwrap();
        let words: Vec<_> = results.iter().map(word).collect();
        assert_eq!(words, ["posted", "INSUFFICIENT_FUNDS", "posted", "posted", "IDEMPOTENCY_KEY_REUSED"]);
        assert_eq!(results[0], results[3], "a key that comes twice is one act");
        let Some(Outcome::Refusal(refusal)) = &results[1].outcome else { panic!("refused") };
        assert_eq!((refusal.metadata["available"].as_str(), refusal.metadata["currency"].as_str()), ("10", "GOLD"));
        assert_eq!((balance(mesh, &alice).await, balance(mesh, &bob).await), (40, 0));

        // Again, elsewhere, and by the call for one: the same acts.
        assert_eq!(shop.spend_many(1, many.to_vec()).await.unwrap(), results);
        let alone = shop.spend_as(1, &first).await.unwrap();
        assert_eq!(results[0].outcome, Some(Outcome::Posting(alone)));
        assert_eq!(reason(shop.spend_as(0, &poor).await), "INSUFFICIENT_FUNDS");
        assert_eq!(balance(mesh, &alice).await, 40);

        // The fact of each belongs to the trace that it was asked in.
        let told = format!("select count(*) from wallet.outbox where aggregateid = '{bob}' and trace_id = '{TRACE}'");
        assert_eq!(mesh.db.count(&format!("{told} and request_id = 'a purchase'")).await, 1);
        assert_eq!(mesh.db.count(&told).await, 1);
    });
}

#[test]
fn what_is_wrong_of_any_of_them_is_told_of_all_and_nothing_is_taken() {
    run(async {
        let mesh = MESH.get().await;
        let (shop, alice) = (Shop::of(mesh).await, somebody());
        shop.grant(&alice, 10).await.unwrap();
        let good = one(spend(&alice, 1));
        let wrong = [
            ("spends[1].spend.amount", vec![good.clone(), one(spend(&alice, 0))]),
            ("spends[1].spend.amount", vec![good.clone(), one(spend(&alice, -5))]),
            ("spends[1].spend.amount", vec![good.clone(), one(spend(&alice, i64::MAX))]),
            ("spends[1].spend.user_id", vec![good.clone(), one(spend("nobody", 1))]),
            ("spends[1].spend.user_id", vec![good.clone(), one(spend("00000000-0000-0000-0000-000000000101", 1))]),
            ("spends[1].spend", vec![good.clone(), SpendOne::default()]),
            ("spends[0].traceparent", vec![SpendOne { traceparent: "0".repeat(129), ..good.clone() }]),
            ("spends[0].request_id", vec![SpendOne { request_id: "\0".to_owned(), ..good.clone() }]),
            ("spends", Vec::new()),
            ("spends", vec![good.clone(); 257]),
        ];
        for (field, spends) in wrong {
            let status = shop.spend_many(0, spends).await.expect_err(field);
            assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
            let details = status.get_error_details();
            let fields: Vec<_> = details.bad_request().unwrap().field_violations.iter().map(|it| &it.field).collect();
            assert_eq!(fields, [field]);
        }
        assert_eq!(balance(mesh, &alice).await, 10);
        // A trace that is none is no reason to refuse.
        let odd = SpendOne { traceparent: "not a trace".to_owned(), ..good };
        assert_eq!(shop.spend_many(0, vec![odd]).await.unwrap().iter().map(word).collect::<Vec<_>>(), ["posted"]);
    });
}
