//! What would be decided and why, for people.

use std::fmt;

use jiff::Timestamp;

use super::{Aim, HeaderView};
use crate::{
    Allowed, Caller, Decision, Denied, Gate, RpcPolicy,
    token::{Claims, Subject, VerifyError, verify},
};

/// Why a request would be admitted or denied at the edge. Shows ids, never the token.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Explanation {
    /// HTTP method.
    pub method: String,
    /// Path as given.
    pub path: String,
    /// RPC that it leads to, if any.
    pub rpc: Option<String>,
    /// The RPC's access option in words.
    pub access: Option<String>,
    /// What the token says or why it is not believed.
    pub token: String,
    /// `allow` or `deny`.
    pub decision: &'static str,
    /// Reason constant of a denial.
    pub reason: Option<String>,
    /// The decision in a sentence.
    pub because: String,
}

impl Gate {
    /// Says what [`Gate::decide_http`] would decide and why. A `POST` to a gRPC path is taken as gRPC.
    pub async fn explain(&self, method: &str, path: &str, token: Option<&str>) -> Explanation {
        let headers = HeaderView::Token(token);
        let aim = match self.policy.rpc(path).filter(|_| method == "POST") {
            Some(rpc) => Ok(Aim::Rpc(std::sync::Arc::clone(rpc))),
            None => self.place(method, path, &headers),
        };
        let (rpc, decision) = match aim {
            Ok(Aim::Rpc(rpc) | Aim::Preflight(rpc)) => (Some(rpc.clone()), self.decide(rpc, &headers, true).await),
            Err(denied) => (None, Decision::Deny(denied)),
        };
        let (word, reason, because) = match &decision {
            Decision::Allow(allowed) => ("allow", None, admitted(allowed)),
            Decision::Deny(denied) => ("deny", Some(denied.reason()), refused(denied)),
        };
        Explanation {
            method: method.to_owned(),
            path: path.to_owned(),
            access: rpc.as_deref().map(access),
            rpc: rpc.map(|rpc| rpc.path.to_string()),
            token: token.map_or_else(|| "none sent".to_owned(), |token| self.token_in_words(token)),
            decision: word,
            reason: reason.map(|reason| {
                let name = reason.as_str_name();
                name.strip_prefix("REASON_").unwrap_or(name).to_owned()
            }),
            because,
        }
    }

    fn token_in_words(&self, token: &str) -> String {
        match verify(token.as_bytes(), &self.rules, &self.keys, self.clock.unix()) {
            Ok((claims, key)) => {
                format!("{}; signed by {} ({})", claims_in_words(&claims), key.kid(), key.algorithm().as_str())
            }
            Err(VerifyError::Expired) => "good but for its time: it has expired".to_owned(),
            Err(VerifyError::Invalid(invalid)) => format!("not believed: {invalid}"),
        }
    }
}

fn claims_in_words(claims: &Claims) -> String {
    let who = match &claims.subject {
        Subject::User { id, session } => format!("user {id}, session {session}"),
        Subject::Machine(name) => format!("service {name} calling {}", claims.audience),
    };
    let until = Timestamp::from_second(claims.expires_at).map_or_else(|_| "?".to_owned(), |at| at.to_string());
    format!("{} token of {who}, roles {}, id {}, until {until}", claims.kind.claim_typ(), claims.roles, claims.id)
}

fn access(rpc: &RpcPolicy) -> String {
    let level = rpc.level.as_str_name();
    let mut words = level.strip_prefix("LEVEL_").unwrap_or(level).to_lowercase();
    if rpc.admins {
        words.push_str(" or admin");
    }
    if rpc.fresh {
        words.push_str(", fresh");
    }
    if rpc.mesh_only {
        words.push_str(", mesh only");
    }
    if rpc.late_token {
        words.push_str(", on a socket with the first message");
    }
    words
}

fn admitted(allowed: &Allowed) -> String {
    let who = match &allowed.caller {
        Caller::Anonymous => "anyone may call it".to_owned(),
        Caller::User(user) => format!("user {} may call it with roles {}", user.user_id, user.roles),
        Caller::Machine(machine) => format!("service {} may call it", machine.service),
    };
    if allowed.degraded { format!("{who}; revocations cannot be read now") } else { who }
}

fn refused(denied: &Denied) -> String {
    match denied {
        Denied::TokenInvalid(invalid) => format!("the token is not accepted: {invalid}"),
        Denied::UnknownMethod { allow } => format!("{denied}: {allow}"),
        other => other.to_string(),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {} {}", self.method, self.path)?;
        writeln!(f, "rpc       {}", self.rpc.as_deref().unwrap_or("none"))?;
        writeln!(f, "access    {}", self.access.as_deref().unwrap_or("none"))?;
        writeln!(f, "token     {}", self.token)?;
        match &self.reason {
            Some(reason) => writeln!(f, "decision  {} ({reason})", self.decision)?,
            None => writeln!(f, "decision  {}", self.decision)?,
        }
        write!(f, "because   {}", self.because)
    }
}
