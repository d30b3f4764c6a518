//! `coreloop demo eco`: the product's own binary lives the story against a mesh, prints each step, and says which did not come.

use coreloop_testkit::{TestMesh, run, wait::wait_for};
use serde_json::json;

use super::{
    stage::LONG,
    story::stage::{MESH, fault, mesh, told_in},
};
use crate::ops::cli::{Said, coreloop};

/// Steps that are printed, in the order in which one causes the other.
const STEPS: [&str; 11] = [
    "signed up",
    "signed in",
    "socket open",
    "initial_state",
    "upload URL",
    "uploaded",
    "registered",
    "task ",
    "character ",
    "inbox ",
    "summary ",
];

async fn demo(mesh: &TestMesh, more: &[&str]) -> Said {
    let front = mesh.front();
    coreloop(mesh, &[&["demo", "eco", "--api", front.as_str()][..], more].concat()).await
}

/// The trace that a demo says it began.
fn trace_of(out: &str) -> String {
    let trace = out.lines().find_map(|line| line.strip_prefix("trace ")).unwrap_or_else(|| panic!("no trace in {out}"));
    trace.to_owned()
}

#[test]
fn the_demo_lives_the_story_and_prints_each_step_with_its_trace() {
    run(async {
        let mesh = MESH.get().await;
        let out = demo(mesh, &[]).await.fine();
        let mut rest = out.as_str();
        for step in STEPS {
            let (_, after) = rest.split_once(&format!(" ms  {step}")).unwrap_or_else(|| panic!("no `{step}`: {out}"));
            rest = after;
        }
        for live in ["scan_update", "reward_granted  character CHR005", "stats_delta     recycled +1", "notification"] {
            assert!(out.contains(&format!(" ms  {live}")), "{live}: {out}");
        }
        let trace = trace_of(&out);
        assert_eq!(told_in(mesh, "notification", "created", &trace).await, 1);
        wait_for("its trace is exported", LONG, async || {
            let spans = mesh.otlp.as_ref().unwrap().trace(&trace);
            let has = |name: &str| spans.iter().any(|one| one.span.name.contains(name));
            (has("ingress") && has("events.notification.created")).then_some(())
        })
        .await;
        // Where to look, and no token.
        for part in ["where to look", trace.as_str(), "/api/v1/my/summary", "notification.inbox", "TOKEN=$(curl"] {
            assert!(out.contains(part), "{part}: {out}");
        }
        assert!(!out.contains("eyJ"), "{out}");
    });
}

#[test]
fn the_demo_lives_it_as_the_owner_of_a_token_who_is_told_when_there_is_no_room() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let as_alice = ["--token", alice.access_token.as_str()];
        let out = demo(mesh, &[&as_alice[..], &["--photo", "jar.webp"]].concat()).await.fine();
        assert!(out.contains(&alice.user_id) && out.contains("character CHR008"), "{out}");
        let full = demo(mesh, &as_alice).await.failed();
        assert!(full.contains("coreloop: the account has as many characters as one may"), "{full}");
        let none = demo(mesh, &["--token", "a.b.c"]).await.failed();
        assert!(none.contains("asking who the token is of") && none.contains("401 TOKEN_INVALID"), "{none}");
    });
}

#[test]
fn the_demo_says_which_step_did_not_come() {
    run(async {
        let mesh = mesh().setting("scan.model_tries", 1_i64).start().await;
        fault(&mesh, &json!({"kind": "latency", "ms": 20_000, "times": 1})).await;
        let late = demo(&mesh, &["--within", "1"]).await.failed();
        assert!(late.contains("the classification (scan_update) did not come on the socket within 1 s"), "{late}");
        assert!(late.contains("where to look") && late.contains("registered"), "{late}");
        fault(&mesh, &json!({"kind": "error", "status": 503})).await;
        let failed = demo(&mesh, &[]).await.failed();
        assert!(failed.contains("the photo could not be classified: MODEL_UNAVAILABLE"), "{failed}");
        let dark = coreloop(&mesh, &["demo", "eco", "--api", "http://127.0.0.1:9"]).await.failed();
        assert!(dark.contains("signing up: http://127.0.0.1:9 does not answer"), "{dark}");
        let none = coreloop(&mesh, &["demo", "eco", "--api", "ftp://127.0.0.1"]).await.failed();
        assert!(none.contains("--api"), "{none}");
    });
}
