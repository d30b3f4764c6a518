//! Keys rotate under load and no good token is refused (A12).

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use coreloop_testkit::{Admin, Persona, Rest, Rounds, TestMesh, run, seed, wait::PATIENCE, wait_until};
use jiff::SignedDuration;
use serde_json::json;

use super::replicas;

/// People whose tokens are used all the time, on every replica.
#[derive(Clone)]
struct Crowd {
    people: Arc<RwLock<Vec<Persona>>>,
    gateways: Vec<String>,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
}

impl Crowd {
    /// Uses everybody's token at each replica in turn until told to stop; answers what was refused.
    async fn come_and_go(self, begin: usize) -> Vec<String> {
        let mut refused = Vec::new();
        let mut turn = begin;
        while !self.stop.load(Ordering::Relaxed) {
            turn += 1;
            let person = {
                let people = self.people.read().unwrap();
                people[turn % people.len()].at(&self.gateways[turn / 7 % self.gateways.len()])
            };
            let answer = person.get("/api/v1/auth/me").await;
            if answer.status == 200 {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            } else {
                refused.push(format!("{} {}", answer.status, answer.text()));
            }
        }
        refused
    }

    /// A token younger than any other takes the place of the oldest.
    fn renew(&self, round: usize, person: Persona) {
        let mut people = self.people.write().unwrap();
        let place = round % people.len();
        people[place] = person;
    }
}

async fn rotate(mesh: &TestMesh, admin: &Admin, at: &str) {
    let session = admin.try_login(&admin.code_at(mesh.now())).await.expect(200);
    let signed_in = Persona::signed_in(admin.visitor.clone(), &session).at(at);
    signed_in.post("/api/v1/auth/admin/keys/rotate", &json!({})).await.expect(200);
}

#[test]
fn rotation_after_rotation_under_load_refuses_no_good_token() {
    run(async {
        let begin = usize::try_from(seed("A12") % 1_000).unwrap();
        // The replicas learn of a rotation by its announcement and by nothing else.
        let mesh = replicas(2).setting("auth.keys_reload_secs", 3_600_i64).start().await;
        let gateways = vec![mesh.gateway_on(0), mesh.gateway_on(1)];
        let admin = mesh.admin_account().await;
        let mut people = Vec::new();
        for number in 0..6 {
            people.push(mesh.visitor("person").at(&gateways[number % 2]).sign_up().await);
        }
        let crowd = Crowd {
            people: Arc::new(RwLock::new(people)),
            gateways: gateways.clone(),
            stop: Arc::default(),
            accepted: Arc::default(),
        };
        let going: Vec<_> = (0..4).map(|number| tokio::spawn(crowd.clone().come_and_go(begin + number))).collect();
        for round in Rounds::of(50) {
            mesh.clock.advance(SignedDuration::from_secs(61));
            // Some rotations in a row at one replica: the other one rotates nothing and must be told.
            rotate(&mesh, &admin, &gateways[round / 4 % 2]).await;
            for (place, at) in [(2 * round, 0), (2 * round + 1, 1)] {
                let person = mesh.visitor("person").at(&gateways[at]).sign_up().await;
                let answer = person.at(&gateways[1 - at]).get("/api/v1/auth/me").await;
                assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
                crowd.renew(place, person);
            }
        }
        crowd.stop.store(true, Ordering::Relaxed);
        let refused: Vec<String> =
            futures::future::join_all(going).await.into_iter().flat_map(Result::unwrap).collect();
        let accepted = crowd.accepted.load(Ordering::Relaxed);
        assert!(refused.is_empty(), "{} of {}: {:?}", refused.len(), accepted + refused.len(), refused.first());
        assert!(accepted > 100, "only {accepted} calls were made");
    });
}

/// Nobody asks for it: the scheduler finds that the days are over, on whichever replica looks first.
#[test]
fn keys_rotate_by_themselves_once_when_their_days_are_over() {
    run(async {
        let settings = [("auth.rotation_days", 30_i64), ("auth.keys_reload_secs", 1)];
        let mesh = settings.into_iter().fold(replicas(2), |mesh, (key, value)| mesh.setting(key, value)).start().await;
        let gateways = [mesh.gateway_on(0), mesh.gateway_on(1)];
        let keys = async |state: &str| {
            mesh.db.count(&format!("select count(*) from auth.signing_keys where state like '{state}'")).await
        };
        wait_until("a next key of each purpose", PATIENCE, async || keys("next").await == 3).await;
        let promoted = "select count(*) from auth.signing_keys where state = 'active' and created_at < activated_at";
        assert_eq!((keys("%").await, mesh.db.count(promoted).await), (6, 0));
        // The keys are as old as the database that this one is a copy of.
        let oldest =
            "select extract(epoch from min(activated_at))::bigint from auth.signing_keys where state = 'active'";
        let due = mesh.db.count(oldest).await + SignedDuration::from_hours(30 * 24).as_secs();
        mesh.clock.advance(SignedDuration::from_secs(due - mesh.now() - 300));
        let early = mesh.visitor("early").at(&gateways[0]).sign_up().await;
        mesh.clock.advance(SignedDuration::from_mins(11));
        wait_until("the keys are rotated", PATIENCE, async || keys("retired").await == 3).await;
        assert_eq!(mesh.db.count(promoted).await, 3, "what was next signs now");
        let late = mesh.visitor("late").at(&gateways[1]).sign_up().await;
        let kid = |person: &Persona| jsonwebtoken::decode_header(&person.access_token).unwrap().kid.unwrap();
        assert_eq!(keys_named(&mesh, &kid(&early)).await, ["retired"]);
        for gateway in &gateways {
            let published = async || {
                let keys = Rest::to(gateway).get("/.well-known/jwks.json").send().await.expect(200);
                keys["keys"].as_array().unwrap().len()
            };
            wait_until("every replica publishes the old and the new", PATIENCE, async || published().await == 9).await;
            for person in [&early, &late] {
                let answer = person.at(gateway).get("/api/v1/auth/me").await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
        wait_until("the new key signs on both", PATIENCE, async || {
            let signs = async |gateway| kid(&mesh.visitor("later").at(gateway).sign_up().await);
            let kids = [signs(&gateways[0]).await, signs(&gateways[1]).await];
            kids[0] == kids[1] && keys_named(&mesh, &kids[0]).await == ["active"]
        })
        .await;
        assert_eq!(keys("%").await, 9, "once, though both replicas looked");
    });
}

/// The states of the keys of that name.
async fn keys_named(mesh: &TestMesh, kid: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for state in ["next", "active", "retired"] {
        let sql = format!("select count(*) from auth.signing_keys where state = '{state}' and kid = '{kid}'");
        if mesh.db.count(&sql).await > 0 {
            found.push(state);
        }
    }
    found
}
