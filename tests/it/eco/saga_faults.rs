//! The saga of a photo when things go wrong (M7): each service is killed before and after each of its steps, the database refuses each
//! once, and facts come twice, backwards and late. Once granted, never doubled, never lost.
//!
//! A step is a commit, which [`Steps`] holds or refuses. Nothing that the saga waits for is shortened where something is killed.

mod delivery;
mod resuming;
pub mod truth;

use std::time::{Duration, Instant};

use coreloop_testkit::{
    Answer, Persona, Product, TestMesh, figure,
    mesh::Builder,
    run,
    wait::{PATIENCE, wait_for, wait_until},
};
use futures::future::join_all;
use serde_json::Value;

use self::truth::{Owed, once, open};
use crate::{
    eco::stage::{LONG, photo, place, registered, sent},
    promises::sagas::steps::{
        Steps,
        Way::{self, After, Before, Fails},
    },
    shop::stage::{Buyer, issuer},
};

/// The figure of chapter 09.
const M7: Duration = Duration::from_secs(30);
/// Who takes part, beside auth and the edge.
const MODULES: &[&str] = &["image", "scan", "character", "my", "notification"];

/// What each commit of the saga is: the name of the step, and whose.
const TRIGGERS: &str = "
    create function public.eco_spot() returns trigger language plpgsql security definer as $$
    declare
        here text;
    begin
        if tg_table_schema = 'image' then
            here := 'registered';
        elsif tg_table_schema = 'scan' then
            here := case when tg_op = 'INSERT' then 'queued'
                         when new.state <> old.state then 'looked'
                         when new.reward_status <> old.reward_status then 'rewarded' end;
        elsif tg_table_schema = 'character' then
            here := 'decided';
        elsif tg_table_schema = 'my' then
            here := case new.source when 'scan' then 'recycled' else 'counted' end;
        else
            here := 'told';
        end if;
        perform public.at_spot(new.user_id, here);
        return null;
    end
    $$;
    create constraint trigger spot after insert on image.images deferrable initially deferred
        for each row execute function public.eco_spot();
    create constraint trigger spot after insert or update on scan.tasks deferrable initially deferred
        for each row execute function public.eco_spot();
    create constraint trigger spot after insert on character.grants deferrable initially deferred
        for each row execute function public.eco_spot();
    create constraint trigger spot after insert on my.heard deferrable initially deferred
        for each row execute function public.eco_spot();
    create constraint trigger spot after insert on notification.inbox deferrable initially deferred
        for each row execute function public.eco_spot()";

/// One character is as many as one may have here.
fn mesh() -> Builder {
    let mesh = TestMesh::builder().modules(MODULES).split().stand_ins().issuer(issuer());
    mesh.setting("limit.enabled", false).setting("character.max_owned", 1_i64)
}

/// Settings of the product's own process that are not shipped.
fn settings(mesh: &TestMesh) -> String {
    let others = mesh.stand_ins.as_ref().unwrap();
    let (storage, model) = (others.storage_settings(), others.model_settings());
    format!("[image]\n{storage}[scan]\n{model}[character]\nmax_owned = 1\n")
}

/// Somebody whose token the test signs: to sign up each would take too long.
fn somebody(mesh: &TestMesh) -> Persona {
    let buyer = Buyer::new(mesh);
    let access_token = buyer.bearer().trim_start_matches("Bearer ").to_owned();
    Persona { visitor: mesh.visitor("eco"), access_token, refresh_token: String::new(), user_id: buyer.id }
}

/// A photo on its way, one step of which goes wrong. Its owner has no other under way.
#[derive(Debug, Clone)]
struct Saga {
    who: Persona,
    owed: Owed,
    spot: &'static str,
    way: Way,
    /// Where the photo is, and what storage calls it: all but its registration is done.
    place: Value,
    etag: String,
}

impl Saga {
    /// Of somebody who gets a character for it, or who has one already and so may have no other.
    async fn of(mesh: &TestMesh, (owed, spot, way): (Owed, &'static str, Way)) -> Self {
        let who = somebody(mesh);
        if owed == Owed::CHARACTER_AND_REFUSAL {
            let (place, etag) = uploaded(&who, "can.png").await;
            registered(&who, &place, &etag).await.expect(200);
            let first = [(who.user_id.clone(), Owed::CHARACTER)];
            wait_until("they have one", LONG, async || mesh.db.count(&open(&first)).await == 0).await;
        }
        let (place, etag) = uploaded(&who, "bottle.jpg").await;
        Self { who, owed, spot, way, place, etag }
    }

    async fn ask(self) -> Answer {
        registered(&self.who, &self.place, &self.etag).await
    }

    /// Asks again until the photo is known to be registered.
    async fn again(&self) {
        wait_for(format!("{} of {} is registered", self.spot, self.who.user_id), PATIENCE, async || {
            Some(self.clone().ask().await).filter(|answer| answer.status == 200)
        })
        .await;
    }
}

/// A photo in its place, and what storage calls it.
async fn uploaded(who: &Persona, name: &str) -> (Value, String) {
    let place = place(who, photo(name)).await;
    let etag = sent(&place, photo(name)).await;
    (place, etag)
}

/// Sagas whose steps go wrong in these ways.
async fn sagas(mesh: &TestMesh, wrong: &[(Owed, &'static str)], ways: &[Way]) -> Vec<Saga> {
    let all = wrong.iter().flat_map(|(owed, spot)| ways.iter().map(|way| (*owed, *spot, *way)));
    join_all(all.map(|one| Saga::of(mesh, one))).await
}

/// What everybody is owed in the end.
fn owed(sagas: &[Saga]) -> Vec<(String, Owed)> {
    sagas.iter().map(|saga| (saga.who.user_id.clone(), saga.owed)).collect()
}

/// Begins them all and kills whoever takes their steps when each is where it goes wrong; they end in time.
async fn all_end(mesh: &TestMesh, product: &mut Product, steps: &mut Steps, sagas: &[Saga]) {
    for saga in sagas {
        steps.put(mesh, &saga.who.user_id, saga.spot, saga.way).await;
    }
    let asked: Vec<_> = sagas.iter().map(|saga| tokio::spawn(saga.clone().ask())).collect();
    steps.reached(mesh).await;
    product.kill();
    let owed = owed(sagas);
    let took = async {
        steps.let_go(mesh).await;
        wait_until("every saga has ended", figure(M7) + PATIENCE, async || mesh.db.count(&open(&owed)).await == 0).await
    };
    // How long a test's binary takes to be ready is the machine's.
    let start = async {
        let begun = Instant::now();
        product.start().await;
        let took = begun.elapsed();
        // Who is not answered asks again; whose photo is there is told so.
        join_all(sagas.iter().map(Saga::again)).await;
        took
    };
    let (start, took) = tokio::join!(start, took);
    assert!(took.saturating_sub(start) < figure(M7), "{took:?}, of which {start:?} to be there again");
    println!("M7: {} photos went wrong, the last had ended {took:.1?} after the kill", sagas.len());
    for answer in join_all(asked).await {
        answer.unwrap();
    }
}

/// Kills `modules`, in one process, before and after each of these steps; then each photo is worth what it should be, once.
async fn killed_at_each(modules: &[&'static str], wrong: &[(Owed, &'static str)]) {
    let mut mesh = mesh().start().await;
    let mut steps = Steps::with(&mesh, TRIGGERS).await;
    let first = sagas(&mesh, wrong, &[Fails, Before]).await;
    let second = sagas(&mesh, wrong, &[After]).await;
    let settings = settings(&mesh);
    let mut product = Product::instead(&mut mesh, modules, &settings).await;
    all_end(&mesh, &mut product, &mut steps, &first).await;
    all_end(&mesh, &mut product, &mut steps, &second).await;
    once(&mesh, &owed(&[first, second].concat())).await;
}

#[test]
fn an_image_and_a_scan_that_are_killed_before_and_after_every_step_lose_and_double_nothing() {
    run(async {
        let wrong = [
            (Owed::CHARACTER, "registered"),
            (Owed::CHARACTER, "queued"),
            (Owed::CHARACTER, "looked"),
            (Owed::CHARACTER, "rewarded"),
            (Owed::CHARACTER_AND_REFUSAL, "rewarded"),
        ];
        killed_at_each(&["image", "scan"], &wrong).await;
    });
}

#[test]
fn a_character_that_is_killed_before_and_after_every_step_is_granted_or_refused_once() {
    run(async {
        let wrong = [(Owed::CHARACTER, "decided"), (Owed::CHARACTER_AND_REFUSAL, "decided")];
        killed_at_each(&["character"], &wrong).await;
    });
}

#[test]
fn my_and_notification_that_are_killed_before_and_after_every_step_count_and_tell_once() {
    run(async {
        let wrong = [
            (Owed::CHARACTER, "recycled"),
            (Owed::CHARACTER, "counted"),
            (Owed::CHARACTER, "told"),
            (Owed::CHARACTER_AND_REFUSAL, "recycled"),
            (Owed::CHARACTER_AND_REFUSAL, "told"),
        ];
        killed_at_each(&["my", "notification"], &wrong).await;
    });
}
