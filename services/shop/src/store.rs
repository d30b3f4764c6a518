//! All SQL of the service. Functions are free, the executor comes first; `&mut PgConnection` joins a transaction.

pub mod changes;
pub mod close;
pub mod effects;
pub mod fraud;
pub mod integrity;
pub mod keys;
pub mod open;
pub mod payments;
pub mod plain;
pub mod products;
pub mod promos;
pub mod purchases;
pub mod receipts;

/// How often each of `keys` comes, in their order: what a batch adds to a row is added once.
fn counts<K: Ord>(keys: impl Iterator<Item = K>) -> (Vec<K>, Vec<i64>) {
    let mut counts = std::collections::BTreeMap::<K, i64>::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts.into_iter().unzip()
}
