//! The chain of an account's entries: who changes one line must change all that follow, and the account.

use aws_lc_rs::digest;
use uuid::Uuid;

use crate::{
    funds::Micros,
    order::{Key, sha},
};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What a posting says of itself, as it is hashed.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Id.
    pub id: Uuid,
    /// Kind, as the contract numbers it.
    pub kind: i16,
    /// Whose key, the key, who, why, what for.
    pub words: [&'a str; 5],
    /// Hash of the request.
    pub body_hash: &'a [u8],
    /// The answer.
    pub answer: &'a [u8],
    /// The posting that it reverses.
    pub reverses: Option<Uuid>,
    /// When.
    pub posted_at: Micros,
}

/// The hash of a posting, which each of its entries is chained with.
#[must_use]
pub fn posting(said: &Said<'_>) -> Hash {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"posting 1");
    hash.update(said.id.as_bytes());
    hash.update(&said.kind.to_be_bytes());
    for word in said.words {
        part(&mut hash, word.as_bytes());
    }
    part(&mut hash, said.body_hash);
    part(&mut hash, said.answer);
    hash.update(said.reverses.unwrap_or_default().as_bytes());
    hash.update(&said.posted_at.to_be_bytes());
    sha(hash)
}

/// A line of an account, as it is hashed.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Account.
    pub key: Key,
    /// Place in the account, from 1.
    pub seq: i64,
    /// Change.
    pub delta: i64,
    /// What the account holds afterwards.
    pub balance_after: i64,
    /// When.
    pub posted_at: Micros,
}

/// The hash of a line after the one that is hashed as `before` (empty for the first), of a posting hashed as `posting`.
#[must_use]
pub fn line(before: &[u8], posting: &Hash, line: &Line) -> Hash {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"entry 1");
    part(&mut hash, before);
    hash.update(posting);
    hash.update(line.key.0.as_bytes());
    hash.update(&line.key.1.to_be_bytes());
    for number in [line.seq, line.delta, line.balance_after, line.posted_at] {
        hash.update(&number.to_be_bytes());
    }
    sha(hash)
}

/// With its length, so that no two sequences of parts are hashed the same.
fn part(hash: &mut digest::Context, bytes: &[u8]) {
    hash.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(words: [&'a str; 5]) -> Said<'a> {
        Said { id: Uuid::nil(), kind: 2, words, body_hash: b"b", answer: b"a", reverses: None, posted_at: 7 }
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let base = posting(&said(["a", "b", "c", "d", "e"]));
        assert_eq!(base, posting(&said(["a", "b", "c", "d", "e"])));
        assert_ne!(base, posting(&said(["ab", "", "c", "d", "e"])));
        assert_ne!(base, posting(&Said { answer: b"x", ..said(["a", "b", "c", "d", "e"]) }));
        assert_ne!(base, posting(&Said { posted_at: 8, ..said(["a", "b", "c", "d", "e"]) }));
        let one = Line { key: (Uuid::nil(), 1), seq: 1, delta: 5, balance_after: 5, posted_at: 7 };
        let first = line(b"", &base, &one);
        assert_ne!(first, line(b"x", &base, &one));
        assert_ne!(first, line(b"", &base, &Line { delta: 6, ..one }));
        assert_ne!(first, line(b"", &base, &Line { key: (Uuid::nil(), 2), ..one }));
    }
}
