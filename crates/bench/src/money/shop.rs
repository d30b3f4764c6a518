//! Purchases as people make them, through the shop: what was asked is written down, the wallet takes the GOLD, the end is written
//! down with its receipt. Three commits beside the one of the raw forms, and a claim in Redis.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use coreloop_shop_api::v1::PurchaseRequest;
use coreloop_wallet_api::v1::{Currency, GrantRequest};
use prost::Message as _;

use super::{BUYERS, IN_FLIGHT, PEOPLE, Place, QUIET, SECONDS, quiet::p99, six};
use crate::{
    cpu::Turn,
    load,
    report::{Row, median, spread},
};

const PURCHASE: &str = "/coreloop.shop.v1.ShopService/Purchase";
const GRANT: &str = "/coreloop.wallet.v1.WalletInternalService/Grant";

/// Purchases of one turn, of all buyers together.
const PURCHASES: u64 = 6_400;

impl Place {
    /// Gives the people who are signed in what they will spend.
    pub(super) async fn give(&self) -> Result<()> {
        let ids: Vec<String> = self.at.people.iter().map(|(id, _)| id.clone()).collect();
        let request = move |call: u64| {
            let request = GrantRequest {
                user_id: ids.get(call as usize).cloned().unwrap_or_default(),
                currency: Currency::Gold.into(),
                amount: 1_000_000_000,
                reason: "bench".to_owned(),
                reference: call.to_string(),
                idempotency_key: format!("give-{call}"),
                ..GrantRequest::default()
            };
            Bytes::from(request.encode_to_vec())
        };
        let people = self.at.people.len() as u64;
        let seen = load::grpc(&self.channels, GRANT, 16, people, Some(&self.at.machine), request).await;
        anyhow::ensure!(seen.errors == 0, "{} grants failed", seen.errors);
        Ok(())
    }

    /// Rows of the shop: the rate beside the six trips, and many at one wallet.
    pub(super) async fn purchases(&self, rounds: usize) -> Result<Vec<Row>> {
        let (mut rates, mut ratios, mut hot) = (Vec::new(), Vec::new(), Vec::new());
        let (mut postgres, mut mesh) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let raw = self.raw(&six(PEOPLE))?.0;
            let (cpu, turn) = (self.cpu()?, Turn::of(&[self.part.pid()])?);
            let rate = self.spread(round).await?;
            let (cpu, turn) = ((self.cpu()? - cpu) * 1e6 / PURCHASES as f64, turn.each(PURCHASES)?);
            let one = self.buy(0, 64, 1_280, &format!("one-{round}")).await?;
            if round > 0 {
                rates.push(rate);
                ratios.push(rate / raw);
                hot.push(one);
                postgres.push(cpu);
                mesh.push(turn);
            }
        }
        let (ratio, one) = (median(&ratios), median(&hot));
        Ok(vec![
            Row {
                id: "P8",
                what: "Purchase of the shop through gRPC, of pgbench's six trips".to_owned(),
                measured: format!("{ratio:.2}"),
                aim: "≥ 3",
                met: ratio >= 3.0,
                detail: format!(
                    "{:.0}/s at {IN_FLIGHT} in flight of {BUYERS} wallets, three commits each; CPU of Postgres {:.0} µs, of the mesh \
                     {:.0} µs a purchase; {}",
                    median(&rates),
                    median(&postgres),
                    median(&mesh),
                    spread(&ratios)
                ),
            },
            Row {
                id: "P9",
                what: "Purchases a second of 64 buyers on one wallet, none failed".to_owned(),
                measured: format!("{one:.0}/s"),
                aim: "≥ 200/s",
                met: one >= 200.0,
                detail: spread(&hot),
            },
        ])
    }

    /// Purchases a second of all buyers.
    pub(super) async fn spread(&self, round: usize) -> Result<f64> {
        let begun = Instant::now();
        let each = (IN_FLIGHT / BUYERS, PURCHASES / BUYERS as u64);
        let buyers = (0..BUYERS).map(|buyer| async move {
            let key = format!("all-{round}");
            self.buy(buyer, each.0, each.1, &key).await
        });
        futures::future::try_join_all(buyers).await?;
        Ok(PURCHASES as f64 / begun.elapsed().as_secs_f64())
    }

    /// Purchases a second of one buyer.
    async fn buy(&self, buyer: usize, in_flight: usize, total: u64, key: &str) -> Result<f64> {
        let Some((_, token)) = self.at.people.get(buyer) else { return Ok(f64::NAN) };
        let (begun, key) = (Instant::now(), key.to_owned());
        let request = move |call| purchase(format!("{key}-{call}"));
        let seen = load::grpc(&self.shops, PURCHASE, in_flight, total, Some(token), request).await;
        anyhow::ensure!(seen.errors == 0, "{} of {total} purchases failed", seen.errors);
        Ok(total as f64 / begun.elapsed().as_secs_f64())
    }

    /// p99 of purchases that come at a steady pace, whatever became of those before.
    pub(super) async fn quiet_shop(&self) -> Result<f64> {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / QUIET);
        let mut calls = Vec::new();
        for call in 0..QUIET * 2 * SECONDS {
            pace.tick().await;
            let Some((_, token)) = self.at.people.get(call as usize % BUYERS).cloned() else { continue };
            let shops = self.shops.clone();
            calls.push(tokio::spawn(async move {
                let request = move |_| purchase(format!("quiet-{call}"));
                load::grpc(&shops, PURCHASE, 1, 1, Some(&token), request).await
            }));
        }
        let mut micros = Vec::new();
        for call in calls {
            let seen = call.await?;
            anyhow::ensure!(seen.errors == 0, "a purchase failed");
            micros.extend(seen.micros);
        }
        Ok(p99(micros))
    }
}

fn purchase(key: String) -> Bytes {
    let request =
        PurchaseRequest { product_id: "spins-5".to_owned(), idempotency_key: key, ..PurchaseRequest::default() };
    request.encode_to_vec().into()
}
