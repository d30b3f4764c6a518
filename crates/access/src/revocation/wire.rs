//! How revocations are written in Redis.

use uuid::Uuid;

use super::{Revocation, Revoked};

/// The stream that every replica follows.
pub(super) const STREAM: &str = "auth:revocations";
/// Sorted set of everything live, by expiry.
pub(super) const LIVE: &str = "auth:revocations:live";
/// Present when [`LIVE`] is complete; changes with each rebuild. Holds for the run of Redis that it names ([`holds_for`]):
/// one that was started again, or took another's place, may have the epoch and not what was written last.
pub(super) const EPOCH: &str = "auth:revocations:epoch";
/// Set of the names of replicas that ever followed.
pub(super) const REPLICAS: &str = "auth:revocations:replicas";
/// Message that says the published keys changed.
pub(super) const KEYS_CHANGED: &str = "k";

/// The id of a Redis's run, of its `INFO server`: another after each start. Empty where Redis does not tell.
pub(super) fn run_of(info: &str) -> &str {
    info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().trim()
}

/// The value of [`EPOCH`] that holds for a run.
pub(super) fn epoch(run: &str, id: Uuid) -> String {
    format!("{run}/{id}")
}

/// The epoch is of this run. No epoch holds for a Redis that does not tell its run.
pub(super) fn holds_for(epoch: &str, run: &str) -> bool {
    !run.is_empty() && epoch.split_once('/').is_some_and(|(of, _)| of == run)
}

/// Key under which a replica says how far it has read.
pub(super) fn replica_key(replica: &str) -> String {
    format!("auth:revocations:replica:{replica}")
}

/// Key that answers a direct question about a token (chapter 01).
pub(super) fn token_key(id: Uuid) -> String {
    format!("auth:blacklist:{id}")
}

/// As [`token_key`], for a session.
pub(super) fn session_key(id: Uuid) -> String {
    format!("auth:blacklist:session:{id}")
}

/// As [`token_key`], for a user; holds the last second of issue that is refused.
pub(super) fn user_key(id: Uuid) -> String {
    format!("auth:blacklist:user:{id}")
}

impl Revocation {
    /// Member of [`LIVE`] and message of [`STREAM`].
    pub(super) fn member(&self) -> String {
        match self.what {
            Revoked::Token(id) => format!("j:{id}"),
            Revoked::Session(id) => format!("s:{id}"),
            Revoked::User { id, issued_until } => format!("u:{id}:{issued_until}"),
        }
    }

    /// Key and value for direct questions.
    pub(super) fn blacklist(&self) -> (String, i64) {
        match self.what {
            Revoked::Token(id) => (token_key(id.0), 1),
            Revoked::Session(id) => (session_key(id.0), 1),
            Revoked::User { id, issued_until } => (user_key(id.0), issued_until),
        }
    }

    /// Reads a member back.
    pub(super) fn parse(member: &str, expires_at: i64) -> Option<Self> {
        let (tag, rest) = member.split_once(':')?;
        let what = match tag {
            "j" => Revoked::Token(rest.parse().ok()?),
            "s" => Revoked::Session(rest.parse().ok()?),
            "u" => {
                let (id, until) = rest.split_once(':')?;
                Revoked::User { id: id.parse().ok()?, issued_until: until.parse().ok()? }
            }
            _ => return None,
        };
        Some(Self { what, expires_at })
    }
}

/// Id of a stream entry, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct StreamId {
    pub(super) ms: u64,
    pub(super) seq: u64,
}

impl StreamId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ms, seq) = text.split_once('-')?;
        Some(Self { ms: ms.parse().ok()?, seq: seq.parse().ok()? })
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_holds_for_its_run_alone() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:5f1c\r\ntcp_port:6379\r\n";
        let epoch = epoch(run_of(info), Uuid::from_u128(7));
        assert!(holds_for(&epoch, "5f1c"));
        for other in ["5f1d", "5f1", "5f1c0", ""] {
            assert!(!holds_for(&epoch, other), "{other}");
        }
        // As it was written before it named a run.
        assert!(!holds_for(&Uuid::from_u128(7).to_string(), "5f1c"));
        // One that does not tell its run is never believed, whatever it holds.
        assert_eq!(run_of("# Server\r\nredis_version:7.0.15\r\n"), "");
        assert!(!holds_for("/epoch", ""));
    }
}
