//! The chain of the audit: the database links rows as they are written (`ops.audit_hash`), and here the same is computed
//! again by other means, so neither has to be believed.

use aws_lc_rs::digest;

use crate::store::audits::Row;

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash of a row after the one that is hashed as `before` (empty for the first).
#[must_use]
pub fn link(before: &[u8], row: &Row) -> Hash {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(before);
    hash.update(&row.seq.to_be_bytes());
    hash.update(row.id.as_bytes());
    hash.update(row.act.as_bytes());
    for word in [&row.step, &row.actor, &row.action, &row.subject, &row.detail, &row.request_id, &row.trace_id] {
        // With its length, so that no word runs into the next.
        hash.update(&u32::try_from(word.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(word.as_bytes());
    }
    hash.update(&row.created_at.to_jiff().as_microsecond().to_be_bytes());
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff_sqlx::ToSqlx as _;
    use uuid::Uuid;

    use super::*;

    fn row() -> Row {
        Row {
            seq: 1,
            id: Uuid::from_u128(1),
            act: Uuid::from_u128(2),
            step: "asked".into(),
            actor: "a".into(),
            action: "b".into(),
            subject: "c".into(),
            detail: "{}".into(),
            request_id: String::new(),
            trace_id: String::new(),
            created_at: Timestamp::UNIX_EPOCH.to_sqlx(),
            hash: Vec::new(),
        }
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let first = link(b"", &row());
        assert_eq!(first, link(b"", &row()));
        let others = [
            Row { seq: 2, ..row() },
            Row { act: Uuid::from_u128(3), ..row() },
            Row { step: "done".into(), ..row() },
            Row { actor: "ab".into(), action: String::new(), ..row() },
            Row { detail: "{ }".into(), ..row() },
            Row { created_at: Timestamp::from_microsecond(1).unwrap_or_default().to_sqlx(), ..row() },
        ];
        for other in others {
            assert_ne!(first, link(b"", &other), "{other:?}");
        }
        assert_ne!(first, link(b"x", &row()));
    }
}
