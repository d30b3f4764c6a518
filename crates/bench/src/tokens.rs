//! Tokens and a gate to measure with: the product's own, without databases.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use coreloop_access::{
    Gate, Keys, Metrics, Options, Policy, Revocations, Role, Roles, gate,
    keys::JwkSet,
    token::{Algorithm, Claims, Purpose, Signer, Subject, TokenKind},
};
use coreloop_core::{Clock as _, Ids as _, SystemClock, id::SystemIds};

/// Makes access tokens that its gate believes.
pub(crate) struct Mint {
    signer: Signer,
    options: Options,
}

impl Mint {
    /// A fresh key of `algorithm`.
    ///
    /// # Errors
    /// When the library refuses to make one.
    pub(crate) fn new(algorithm: Algorithm) -> Result<Self> {
        let signer = Signer::generate("bench", algorithm, Purpose::User)?;
        Ok(Self { signer, options: Options { cache_entries: 2_000_000, ..Options::default() } })
    }

    /// A gate that knows the key.
    ///
    /// # Errors
    /// When the committed policy cannot be read.
    pub(crate) fn gate(&self) -> Result<Arc<Gate>> {
        self.gate_with(Revocations::alone(Arc::new(SystemClock)), Metrics::default())
    }

    /// A gate that knows the key and follows `revocations`.
    ///
    /// # Errors
    /// When the committed policy cannot be read.
    pub(crate) fn gate_with(&self, revocations: Revocations, metrics: Metrics) -> Result<Arc<Gate>> {
        let keys = Keys::fixed(&JwkSet { keys: vec![self.signer.jwk()?] });
        Ok(Arc::new(Gate::new(gate::Parts {
            options: self.options.clone(),
            clock: Arc::new(SystemClock),
            policy: Policy::committed().map_err(|error| anyhow::anyhow!("{error:?}"))?,
            keys,
            revocations,
            metrics,
        })))
    }

    /// What the tokens and gates go by.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Claims of a fresh access token.
    pub(crate) fn claims(&self) -> Claims {
        let now = SystemClock.unix();
        Claims {
            kind: TokenKind::Access,
            issuer: self.options.issuer.as_str().into(),
            audience: self.options.audience.as_str().into(),
            subject: Subject::User { id: SystemIds.uuid().into(), session: SystemIds.uuid().into() },
            id: SystemIds.uuid().into(),
            roles: Roles::NONE.with(Role::Standard),
            issued_at: now,
            not_before: now,
            expires_at: now + 3600,
        }
    }

    /// A fresh access token.
    ///
    /// # Errors
    /// When signing fails.
    pub(crate) fn token(&self) -> Result<String> {
        self.sign(&self.claims())
    }

    /// A token of `claims`.
    ///
    /// # Errors
    /// When signing fails.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String> {
        Ok(self.signer.sign(claims)?)
    }

    /// `count` fresh tokens, made on every core.
    ///
    /// # Errors
    /// When signing fails.
    pub(crate) fn tokens(&self, count: usize) -> Result<Vec<String>> {
        let cores = std::thread::available_parallelism()?.get();
        std::thread::scope(|scope| {
            let share = count.div_ceil(cores);
            let threads: Vec<_> = (0..cores)
                .map(|_| scope.spawn(move || (0..share).map(|_| self.token()).collect::<Result<Vec<_>>>()))
                .collect();
            let mut all = Vec::with_capacity(count);
            for thread in threads {
                all.extend(thread.join().ok().context("a thread ended")??);
            }
            all.truncate(count);
            Ok(all)
        })
    }
}
