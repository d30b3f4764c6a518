//! What the shop and rewards hold, and what their partners say; and what is true of both: one row a key, as it was told.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use coreloop_testkit::StandIns;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Findings, Kind, State, redemptions, sales};
use crate::journal::{Act, Deed, Said};

/// A purchase.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Sale {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) product_id: String,
    pub(crate) key: String,
    pub(crate) category: i16,
    pub(crate) state: i16,
    pub(crate) price: i64,
    /// With what is on top.
    pub(crate) gold: i64,
    pub(crate) owed: i64,
    pub(crate) payment_id: String,
    /// Why it came to nothing.
    pub(crate) reason: String,
    /// Effects of its item, and its events by name.
    pub(crate) effects: i64,
    pub(crate) events: Vec<String>,
}

/// A redemption.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Redemption {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) key: String,
    pub(crate) sku: String,
    pub(crate) price: i64,
    pub(crate) state: i16,
    pub(crate) spent: Option<Uuid>,
    pub(crate) returned: Option<Uuid>,
    /// Its events by name, and lines of it in the audit.
    pub(crate) events: Vec<String>,
    pub(crate) steps: i64,
}

/// Pieces: of a product, of a product that a user has, of a reward.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Pieces {
    /// Of what.
    pub(crate) name: String,
    /// How many there were, or may be.
    pub(crate) total: i64,
    /// How many are taken, as the row says.
    pub(crate) taken: i64,
    /// How many rows of purchases or redemptions have one.
    pub(crate) had: i64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Market {
    pub(crate) sales: Vec<Sale>,
    pub(crate) redemptions: Vec<Redemption>,
    pub(crate) stock: Vec<Pieces>,
    pub(crate) holdings: Vec<Pieces>,
    pub(crate) shelf: Vec<Pieces>,
    /// Payments by their ids, with their states.
    pub(crate) payments: HashMap<String, String>,
    /// What the vendor knows of redemptions.
    pub(crate) orders: HashMap<String, String>,
}

impl Market {
    /// Reads the tables.
    pub(super) async fn read(tx: &mut PgConnection) -> Result<Self> {
        let sales = sqlx::query_as(
            "with told as (select payload -> 'purchase_update' ->> 'transaction_id' as id, array_agg(type order by type) as events
                             from shop.outbox group by 1)
             select p.id, user_id, product_id, key, category, state, price, gold + bonus as gold, owed, payment_id, reason,
                    (select count(*) from shop.effects where purchase_id = p.id) as effects,
                    coalesce(events, '{}') as events
               from shop.purchases p left join told on told.id = p.id::text",
        );
        let redemptions = sqlx::query_as(
            "with told as (select payload ->> 'redemption_id' as id, array_agg(type order by type) as events
                             from rewards.outbox group by 1)
             select r.id, user_id, key, sku, price, state, spent, returned, coalesce(events, '{}') as events,
                    (select count(*) from rewards.reward_audit where subject = r.id) as steps
               from rewards.redemptions r left join told on told.id = r.id::text",
        );
        let stock = sqlx::query_as(
            "select product_id as name, total, taken, (select count(*) from shop.purchases p where p.product_id = s.product_id
                    and took_stock and state < 4) as had
               from shop.stock s",
        );
        let holdings = sqlx::query_as(
            "select user_id || ' ' || product_id as name, case when limit_once then 1 else per_user_limit end::bigint as total,
                    taken, (select count(*) from shop.purchases p where p.user_id = h.user_id and p.product_id = h.product_id
                    and took_holding and state < 4) as had
               from shop.holdings h join shop.products on id = product_id",
        );
        let shelf = sqlx::query_as(
            "select sku as name, shelf.stock as total, shelf.stock - left_over.stock as taken,
                    (select count(*) from rewards.redemptions r where r.sku = shelf.sku and state in (1, 2, 3)) as had
               from witness.shelf shelf join rewards.inventory left_over using (sku)",
        );
        Ok(Self {
            sales: sales.fetch_all(&mut *tx).await?,
            redemptions: redemptions.fetch_all(&mut *tx).await?,
            stock: stock.fetch_all(&mut *tx).await?,
            holdings: holdings.fetch_all(&mut *tx).await?,
            shelf: shelf.fetch_all(&mut *tx).await?,
            ..Self::default()
        })
    }

    /// Asks the partners.
    pub(super) async fn ask(&mut self, others: &StandIns) {
        let word = |value: &Value| value["status"].as_str().unwrap_or_default().to_owned();
        for sale in self.sales.iter().filter(|sale| !sale.payment_id.is_empty()) {
            let path = format!("/_sandbox/payments/{}", sale.payment_id);
            let payment = others.rest().get(&path).send().await.expect(200);
            self.payments.insert(sale.payment_id.clone(), word(&payment));
        }
        let orders = others.rest().get("/_sandbox/vendor/orders").send().await.expect(200);
        for (key, order) in orders["orders"].as_object().into_iter().flatten() {
            self.orders.insert(key.clone(), word(order));
        }
    }
}

pub(super) fn look(state: &State, journal: &[Deed], findings: &mut Findings) {
    let market = &state.market;
    let sales = market.sales.iter().map(|sale| {
        let before = sale.charged_back().then_some(3);
        let row = Standing { id: sale.id.to_string(), state: sale.state, before, over: [3, 4, 5] };
        (format!("buy {} {} {}", sale.user_id, sale.product_id, sale.key), row)
    });
    let redemptions = market.redemptions.iter().map(|row| {
        let standing = Standing { id: row.id.to_string(), state: row.state, before: None, over: [3, 5, 6] };
        (format!("redeem {} {} {}", row.user_id, row.sku, row.key), standing)
    });
    let mut there: HashMap<_, _> = sales.chain(redemptions).collect();
    let ids: HashSet<String> = there.values().map(|row| row.id.clone()).collect();
    for (number, deed) in journal.iter().enumerate() {
        let name = match &deed.act {
            Act::Buy { user, product, .. } => format!("buy {user} {product} {}", deed.key),
            Act::Redeem { user, sku } => format!("redeem {user} {sku} {}", deed.key),
            _ => continue,
        };
        if deed.forged {
            if deed.taken() {
                findings.of_deed(Kind::Doubled, number, "a key was taken for another request than it named");
            }
            continue;
        }
        if !there.contains_key(&name)
            && deed.replies.iter().any(|reply| matches!(&reply.said, Said::Taken { id, .. } if ids.contains(id)))
        {
            findings.of_deed(Kind::Doubled, number, "was answered with another's");
        }
        one(number, deed, there.remove(&name), findings);
    }
    for (name, row) in &there {
        findings.add(Kind::Doubled, format!("{} ({name}) was asked for by nobody", row.id));
    }
    sales::look(state, journal, findings);
    redemptions::look(state, findings);
    for (what, pieces) in [("stock", &market.stock), ("holdings", &market.holdings), ("shelf", &market.shelf)] {
        for one in pieces {
            pieces_fit(what, one, findings);
        }
    }
}

/// How what was asked for stands.
struct Standing {
    id: String,
    state: i16,
    /// The state in which it was over before it was opened again.
    before: Option<i16>,
    /// The states in which it is over.
    over: [i16; 3],
}

/// A deed beside its row.
fn one(number: usize, deed: &Deed, row: Option<Standing>, findings: &mut Findings) {
    let Some(Standing { id, state, before, over }) = row else {
        if deed.taken() {
            findings.of_deed(Kind::Lost, number, "was acknowledged and is not there");
        } else if deed.open() {
            findings.of_deed(Kind::Open, number, "nobody can tell what became of it");
        }
        return;
    };
    for reply in &deed.replies {
        match &reply.said {
            Said::Taken { id: told, .. } if *told != id => {
                findings.of_deed(Kind::Doubled, number, format!("was answered with another's, and is there as {id}"));
            }
            Said::Taken { state: told, .. }
                if over.map(i32::from).contains(told)
                    && *told != i32::from(state)
                    && Some(*told) != before.map(i32::from) =>
            {
                findings.of_deed(Kind::Lost, number, format!("was told to be in state {told} and is in state {state}"));
            }
            Said::Refused(reason) if reason == "IDEMPOTENCY_KEY_REUSED" => {
                findings.of_deed(Kind::Doubled, number, "was refused for a key that its caller had not used");
            }
            _ => {}
        }
    }
    if !over.contains(&state) {
        findings.of_deed(Kind::Open, number, format!("is still in state {state}"));
    }
    // What failed after it was written down is answered with its refusal; so is a redemption that was never paid.
    let failed = state > 4;
    let refused = matches!(deed.replies.last().map(|reply| &reply.said), Some(Said::Refused(_)));
    if refused && !failed {
        findings.of_deed(Kind::Doubled, number, format!("was refused and is there in state {state}"));
    }
    if deed.open() {
        findings.of_deed(Kind::Open, number, "nobody can tell what became of it");
    }
}

fn pieces_fit(what: &str, one: &Pieces, findings: &mut Findings) {
    let Pieces { name, total, taken, had } = one;
    if taken != had {
        findings.add(Kind::Books, format!("{what} of {name}: {taken} are taken and {had} are had"));
    }
    if taken > total || *taken < 0 {
        findings.add(Kind::Books, format!("{what} of {name}: {taken} of {total} are taken"));
    }
}

/// What a user's account of a currency has got by the postings that belong to something, and how many there are.
pub(super) fn moved(state: &State, caller: &str, currency: i32) -> HashMap<(Uuid, Uuid), (i64, usize)> {
    use coreloop_wallet_api::v1::account::Owner;
    let mut moved = HashMap::<(Uuid, Uuid), (i64, usize)>::new();
    for row in state.postings.iter().filter(|row| row.caller == caller) {
        let Ok(reference) = row.reference.parse::<Uuid>() else { continue };
        let mut sums = HashMap::<Uuid, i64>::new();
        for leg in row.answer.legs.iter().filter(|leg| leg.currency == currency) {
            if let Some(Owner::UserId(user)) = leg.account.as_ref().and_then(|account| account.owner.as_ref()) {
                *sums.entry(user.parse().unwrap_or_default()).or_default() += leg.delta;
            }
        }
        for (user, sum) in sums {
            let (all, times) = moved.entry((reference, user)).or_default();
            *all += sum;
            *times += 1;
        }
    }
    moved
}
