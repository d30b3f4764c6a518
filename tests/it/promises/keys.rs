//! Keys rotate under load and no good token is refused (A12).

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use coreloop_testkit::{Admin, Persona, Rounds, TestMesh, run, seed};
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
