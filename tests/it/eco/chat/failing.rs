//! The model fails in every way, says nothing, or says too much. Nothing that was said is lost: an answer comes in the end, or stands as
//! failed and can be asked for again.

use coreloop_testkit::{Persona, TestMesh, mesh::Builder, run};
use futures::future::join_all;
use serde_json::json;

use super::stage::{
    FOREVER_MS, Talk, asked, came_to_nothing, fault, held, id, is_once, mended, mesh, owed, text, told,
};

async fn begun(builder: Builder) -> (TestMesh, Persona, Talk) {
    let mesh = builder.start().await;
    let alice = mesh.persona("alice").await;
    let talk = Talk::of(&alice).await;
    (mesh, alice, talk)
}

#[test]
fn a_model_that_stumbles_is_asked_again() {
    run(async {
        let (mesh, alice, talk) = begun(mesh()).await;
        for change in [
            json!({"kind": "error", "status": 429, "times": 1}),
            json!({"kind": "error", "status": 500, "times": 1}),
            json!({"kind": "error", "status": 503, "times": 2}),
            json!({"kind": "garbage", "times": 1}),
            json!({"kind": "cut", "times": 1}),
            json!({"kind": "reset", "times": 1}),
            json!({"kind": "lost", "times": 1}),
        ] {
            let before = asked(&mesh).await;
            fault(&mesh, change.clone()).await;
            let answer = talk.answered("Where do bottles go?").await;
            // None of a try that broke off is left in it.
            assert!(
                text(&answer).starts_with("I have read ") && text(&answer).matches("I have read").count() == 1,
                "{answer}"
            );
            is_once(&mesh, &answer, 1).await;
            assert!(asked(&mesh).await - before >= 2, "{change} met nobody");
        }
        assert_eq!((held(&mesh, "dead").await, owed(&mesh, &alice).await), (0, 0));
    });
}

#[test]
fn a_quota_that_is_used_up_is_a_failure_that_can_be_tried_again() {
    run(async {
        let (mesh, alice, talk) = begun(mesh().setting("chat.model_tries", 2_i64)).await;
        fault(&mesh, json!({"kind": "quota"})).await;
        let failed = talk.failed("Where do cans go?", "MODEL_RATE_LIMITED").await;
        assert_eq!((asked(&mesh).await, told(&mesh, "message_failed", &failed).await), (2, 1));
        assert_eq!((held(&mesh, "dead").await, owed(&mesh, &alice).await), (0, 0), "nobody mends it, and nobody pays");
        mended(&mesh).await;
        // Asked for by many at once it is given once, where it stood.
        let again = join_all((0..6).map(|_| talk.again(&failed))).await;
        let ended = talk.ended(&failed).await;
        for answer in &again {
            // It may be there before the last of them comes.
            if answer.status == 400 {
                answer.refused(400, "MESSAGE_NOT_FAILED");
            } else {
                assert_eq!(answer.expect(202)["answer"]["message_id"], failed["message_id"]);
            }
        }
        assert!(again.iter().any(|answer| answer.status == 202));
        is_once(&mesh, &ended, 2).await;
        assert_eq!((&ended["sequence"], talk.messages().await.len()), (&failed["sequence"], 2));
        assert_eq!((told(&mesh, "message_failed", &ended).await, owed(&mesh, &alice).await), (1, 0));
        talk.again(&ended).await.refused(400, "MESSAGE_NOT_FAILED");
        let question = json!({"message_id": ended["question_id"]});
        talk.again(&question).await.refused(404, "MESSAGE_NOT_FOUND");
    });
}

#[test]
fn a_model_that_falls_silent_is_given_up() {
    run(async {
        let hasty = mesh().setting("chat.model_silence_ms", 1_500_i64);
        let (mesh, _alice, talk) = begun(hasty).await;
        for change in [json!({"kind": "timeout", "ms": FOREVER_MS}), json!({"kind": "stall", "ms": FOREVER_MS})] {
            fault(&mesh, change).await;
            talk.failed("Where do jars go?", "MODEL_TIMEOUT").await;
            mended(&mesh).await;
        }
    });
}

#[test]
fn a_model_that_speaks_too_slowly_is_given_up_in_time() {
    run(async {
        // It is never silent for long, and never at its end.
        let (mesh, _alice, talk) = begun(mesh().setting("chat.model_timeout_ms", 4_000_i64)).await;
        fault(&mesh, json!({"kind": "trickle", "ms": 1_000})).await;
        let failed = talk.failed("Where do boxes go?", "MODEL_TIMEOUT").await;
        assert_eq!(told(&mesh, "message_answered", &failed).await, 0);
    });
}

#[test]
fn what_makes_no_sense_is_no_answer() {
    run(async {
        let (mesh, _alice, talk) = begun(mesh()).await;
        talk.failed("Say nothing.", "MODEL_NONSENSE").await;
        assert_eq!(asked(&mesh).await, 2, "once, and once more");
        talk.failed("Say what must not be said.", "CONTENT_FILTERED").await;
        assert_eq!(asked(&mesh).await, 3);
        fault(&mesh, json!({"kind": "garbage", "times": 3})).await;
        talk.failed("Where do bags go?", "MODEL_UNAVAILABLE").await;
        assert_eq!(asked(&mesh).await, 6);
        // What came to nothing is no part of what is told later.
        let answer = talk.answered("Repeat what you were told.").await;
        assert!(!text(&answer).contains("assistant:"), "{answer}");
    });
}

/// What somebody asks for on purpose, knowing that it fails, is not asked for free.
#[test]
fn what_the_model_read_and_said_is_paid_for_though_it_came_to_nothing() {
    run(async {
        let (mesh, alice, talk) = begun(mesh().setting("chat.reserve_tokens", 100_i64)).await;
        let paid =
            format!("select coalesce(sum(tokens), 0)::bigint from chat.usage where user_id = '{}'", alice.user_id);
        // Nobody began an answer.
        fault(&mesh, json!({"kind": "error", "status": 500})).await;
        talk.failed("Hello.", "MODEL_UNAVAILABLE").await;
        mended(&mesh).await;
        assert_eq!(mesh.db.count(&paid).await, 0);
        talk.failed("Say what must not be said.", "CONTENT_FILTERED").await;
        let once = mesh.db.count(&paid).await;
        assert!((1..=100).contains(&once), "{once}: what it was told, and no more than was reckoned");
        // Asked for again it takes more, and what all of it took is known of each answer.
        talk.failed("Say what must not be said.", "CONTENT_FILTERED").await;
        assert!(mesh.db.count(&paid).await > once);
        assert_eq!(owed(&mesh, &alice).await, 0);
        talk.answered("Hello.").await;
        assert_eq!(owed(&mesh, &alice).await, 0);
    });
}

#[test]
fn an_answer_is_as_long_as_one_may_be() {
    run(async {
        let (_mesh, _alice, talk) = begun(mesh().setting("chat.answer_tokens", 3_i64)).await;
        let short = talk.answered("Where do caps go?").await;
        assert_eq!((text(&short), &short["truncated"]), ("I have read ", &json!(true)));
        // A model that does not keep to it is not heard out.
        let long = talk.answered("Go on for ever.").await;
        assert_eq!((&long["truncated"], text(&long).len()), (&json!(true), 65_000));
    });
}

#[test]
fn a_model_that_refuses_us_is_asked_once() {
    run(async {
        let (mesh, alice, talk) = begun(mesh().setting("chat.api_key", "guess")).await;
        talk.failed("Hello.", "MODEL_REFUSED").await;
        assert_eq!((asked(&mesh).await, held(&mesh, "dead").await, owed(&mesh, &alice).await), (1, 0, 0));
    });
}

#[test]
fn a_model_that_goes_on_failing_is_left_alone() {
    run(async {
        let wary = mesh()
            .setting("chat.model_tries", 1_i64)
            .setting("chat.breaker_failures", 2_i64)
            .setting("chat.breaker_secs", 3_600_i64);
        let (mesh, _alice, talk) = begun(wary).await;
        fault(&mesh, json!({"kind": "error", "status": 503})).await;
        for _ in 0..2 {
            talk.failed("Hello.", "MODEL_UNAVAILABLE").await;
        }
        mended(&mesh).await;
        let failed = talk.failed("Hello.", "MODEL_LEFT_ALONE").await;
        assert_eq!(asked(&mesh).await, 2, "nobody asked");
        // It can be tried again, with the same end as long as nobody asks.
        talk.again(&failed).await.expect(202);
        let failed = talk.ended(&failed).await;
        came_to_nothing(&failed, "MODEL_LEFT_ALONE");
        assert_eq!(
            (&failed["attempt"], told(&mesh, "message_failed", &failed).await),
            (&json!(2), 2),
            "{}",
            id(&failed)
        );
    });
}
