//! Calls that stay open: held to what a new call with their token would be told.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Gate, HeaderView};
use crate::{
    Denied, Hold, RpcPolicy,
    policy::Level,
    revocation::{Slot, Terms, Verdict, Why},
};

/// How late an expiry is noticed at most. Revocations do not wait for it.
const LOOK: Duration = Duration::from_millis(250);
/// Between two questions to Redis about the open calls while the stream of revocations is late, and between two looks at
/// their keys.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Tokens asked of Redis at once.
const ASK_AT_ONCE: usize = 256;

impl Gate {
    /// Holds the admission of a call whose answer is a stream, to be dropped when it ends; none for a call whose token is not
    /// looked at. Its [`Hold::poll_ended`] says when the token is revoked or past its time, when its key is withdrawn, and
    /// when revocations could not be read for longer than the RPC allows. Needs [`Gate::run`] for all but revocations.
    ///
    /// # Errors
    /// When the token stopped counting since the call was admitted.
    pub async fn hold(&self, rpc: &RpcPolicy, headers: &HeaderView<'_>) -> Result<Option<Hold>, Denied> {
        if matches!(rpc.level, Level::Unspecified | Level::Public) {
            return Ok(None);
        }
        let Some(token) = headers.bearer().map_err(Denied::TokenInvalid)? else { return Ok(None) };
        let entry = self.entry(token).await?;
        let terms = Terms {
            question: super::judge::question(&entry),
            until: i64::from(entry.expires_at) + self.rules.leeway_secs(),
            key_serial: entry.key_serial,
            fresh: rpc.fresh,
        };
        Ok(Some(Hold::new(&self.revocations, terms)))
    }

    /// Number of calls that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.revocations.holds().len()
    }

    /// Looks after the open calls until `stop`; costs nothing while there are none.
    pub(super) async fn oversee(&self, stop: &CancellationToken) {
        let mut asked = Instant::now();
        loop {
            let open = async {
                self.revocations.holds().any().await;
                tokio::time::sleep(LOOK).await;
            };
            if stop.run_until_cancelled(open).await.is_none() {
                return;
            }
            self.revocations.holds().expire(self.clock.unix());
            if asked.elapsed() >= ASK_EVERY {
                self.review().await;
                asked = Instant::now();
            }
        }
    }

    /// Looks at each open call's key and, while the stream of revocations is late, asks Redis about its token.
    async fn review(&self) {
        let open = self.revocations.holds().all();
        for slot in open.iter().filter(|slot| !self.keys.holds(slot.terms.key_serial)) {
            slot.end(Why::KeyGone);
        }
        for some in open.chunks(ASK_AT_ONCE) {
            if self.revocations.is_live() {
                return;
            }
            let questions: Vec<_> = some.iter().map(|slot| slot.terms.question).collect();
            if !self.revocations.ask_about(&questions).await {
                some.iter().filter(|slot| !self.may_go_on(slot)).for_each(|slot| slot.end(Why::Unknown));
            }
        }
    }

    /// The call goes on with the revocations that are known (chapter 01, ext_authz).
    fn may_go_on(&self, slot: &Slot) -> bool {
        match self.revocations.unknown() {
            Verdict::Unknown(blind) => blind.is_some_and(|blind| self.bears(slot.terms.fresh, blind)),
            Verdict::Clear | Verdict::Revoked => true,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use coreloop_core::SessionId;
    use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
    use jiff::SignedDuration;

    use super::*;
    use crate::{
        Revocation, Role,
        gate::tests::{AUTHORIZE, GET_ME, ISSUER, World},
        keys::JwkSet,
        revocation::Revoked,
        token::{Claims, Invalid},
    };

    async fn held(world: &World, rpc: &str, token: &str) -> Result<Option<Hold>, Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
        world.gate.hold(world.gate.policy().rpc(rpc).unwrap(), &HeaderView::Map(&headers)).await
    }

    async fn open(world: &World) -> (Claims, Hold) {
        let claims = ISSUER.access(world.now(), &[Role::Standard]);
        let hold = held(world, GET_ME, &ISSUER.user_ed.sign(&claims).unwrap()).await.unwrap().unwrap();
        (claims, hold)
    }

    fn told(hold: &Hold) -> Option<Denied> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match hold.poll_ended(&mut cx) {
            std::task::Poll::Ready(denied) => Some(denied),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn each_way_to_revoke_ends_the_call_it_speaks_of_and_no_other() {
        let world = World::new();
        let ways: [fn(&Claims) -> Revoked; 3] = [
            |claims| Revoked::Token(claims.id),
            |claims| Revoked::Session(claims.session_id().unwrap()),
            |claims| Revoked::User { id: claims.user_id().unwrap(), issued_until: claims.issued_at },
        ];
        for way in ways {
            let ((claims, hold), (_, other)) = (open(&world).await, open(&world).await);
            assert_eq!((told(&hold), world.gate.held()), (None, 2));
            world.gate.revocations().learn(&Revocation { what: way(&claims), expires_at: claims.expires_at });
            assert_eq!((told(&hold), told(&other)), (Some(Denied::TokenRevoked), None));
        }
        assert_eq!(world.gate.held(), 0, "what ended is forgotten");
    }

    #[tokio::test]
    async fn a_token_issued_after_the_word_on_its_user_goes_on() {
        let world = World::new();
        let (claims, hold) = open(&world).await;
        let what = Revoked::User { id: claims.user_id().unwrap(), issued_until: claims.issued_at - 1 };
        world.gate.revocations().learn(&Revocation { what, expires_at: claims.expires_at });
        assert_eq!(told(&hold), None);
    }

    #[tokio::test]
    async fn a_call_that_waits_is_woken() {
        let world = World::new();
        let (claims, hold) = open(&world).await;
        let what = Revoked::Session(claims.session_id().unwrap());
        let (denied, ()) = tokio::join!(poll_fn(|cx| hold.poll_ended(cx)), async {
            world.gate.revocations().learn(&Revocation { what, expires_at: claims.expires_at });
        });
        assert_eq!(denied, Denied::TokenRevoked);
    }

    #[tokio::test]
    async fn what_was_revoked_before_the_call_was_held_ends_it_too() {
        let world = World::new();
        let claims = ISSUER.access(world.now(), &[Role::Standard]);
        let what = Revoked::Token(claims.id);
        world.gate.revocations().learn(&Revocation { what, expires_at: claims.expires_at });
        let hold = held(&world, GET_ME, &ISSUER.user_ed.sign(&claims).unwrap()).await.unwrap().unwrap();
        assert_eq!(told(&hold), Some(Denied::TokenRevoked));
    }

    #[tokio::test]
    async fn a_call_without_a_token_is_not_held_and_one_with_a_bad_token_is_refused() {
        let world = World::new();
        let rpc = world.gate.policy().rpc(AUTHORIZE).unwrap();
        assert!(world.gate.hold(rpc, &HeaderView::Map(&HeaderMap::new())).await.unwrap().is_none());
        assert!(matches!(held(&world, GET_ME, "nonsense").await, Err(Denied::TokenInvalid(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_with_its_token_and_with_its_key() {
        let world = World::new();
        let stop = CancellationToken::new();
        let ((claims, hold), (_, keyless)) = (open(&world).await, open(&world).await);
        let work = async {
            let leeway = world.gate.rules().leeway_secs();
            world.clock.advance(SignedDuration::from_secs(claims.expires_at + leeway - 2 - world.now()));
            world.gate.revocations().holds().expire(world.now());
            assert_eq!(told(&hold), None, "leeway counts for open calls as for new ones");
            world.gate.keys().set(&JwkSet { keys: Vec::new() });
            let gone = poll_fn(|cx| keyless.poll_ended(cx)).await;
            assert_eq!(gone, Denied::TokenInvalid(Invalid::UnknownKey));
            drop((hold, keyless));
            stop.cancel();
        };
        tokio::join!(world.gate.oversee(&stop), work);
        assert_eq!(world.gate.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_token_ends_its_call() {
        let world = World::new();
        let stop = CancellationToken::new();
        let (claims, hold) = open(&world).await;
        let work = async {
            world.clock.advance(SignedDuration::from_secs(claims.expires_at + 31 - world.now()));
            assert_eq!(poll_fn(|cx| hold.poll_ended(cx)).await, Denied::TokenExpired);
            stop.cancel();
        };
        tokio::join!(world.gate.oversee(&stop), work);
    }

    #[tokio::test]
    async fn ten_thousand_idle_calls_make_a_revocation_no_dearer() {
        let world = World::new();
        let mut holds = Vec::new();
        for _ in 0..100 {
            let (claims, _) = open(&world).await;
            let user = claims.user_id().unwrap();
            for _ in 0..100 {
                let session = SessionId(coreloop_core::Ids::uuid(&coreloop_core::id::SystemIds));
                let token = coreloop_core::TokenId(session.0);
                let question = crate::revocation::known::Question {
                    token,
                    user: Some((user, session)),
                    issued_at: claims.issued_at,
                };
                let terms = Terms { question, until: claims.expires_at, key_serial: 1, fresh: false };
                holds.push((session, Hold::new(world.gate.revocations(), terms)));
            }
        }
        assert_eq!(world.gate.held(), 10_000);
        let woken = Arc::new(Count::default());
        let waker = std::task::Waker::from(Arc::clone(&woken));
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(holds.iter().all(|(_, hold)| hold.poll_ended(&mut cx).is_pending()));
        let what = Revoked::Session(holds.first().unwrap().0);
        world.gate.revocations().learn(&Revocation { what, expires_at: i64::MAX });
        assert_eq!(woken.0.load(std::sync::atomic::Ordering::SeqCst), 1, "only the call that is spoken of is woken");
    }

    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
}
