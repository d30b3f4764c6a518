//! Preferences: what is named is set, the rest stays.

use coreloop_testkit::run;
use futures::future::join;
use serde_json::json;

use super::stage::{MESH, patch};

const PATH: &str = "/api/v1/my/preferences";

#[test]
fn what_is_named_is_set_and_the_rest_stays() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let set = async || alice.get(PATH).await.expect(200)["preferences"].clone();
        assert_eq!(set().await, json!({"language": "", "public_figures": false}));
        patch(&alice, PATH, &json!({"language": "ko"})).await.expect(200);
        let answer = patch(&alice, PATH, &json!({"public_figures": true})).await.expect(200);
        assert_eq!(answer["preferences"], json!({"language": "ko", "public_figures": true}));
        assert_eq!(set().await, answer["preferences"]);
        let masked = format!("{PATH}?update_mask=language");
        patch(&alice, &masked, &json!({"language": "en", "public_figures": false})).await.expect(200);
        assert_eq!(set().await, json!({"language": "en", "public_figures": true}));
        // Both at once, of different fields, by both replicas.
        let fronts: Vec<_> = (0..2).map(|replica| alice.at(&mesh.gateway_on(replica))).collect();
        let (language, figures) = (json!({"language": ""}), json!({"public_figures": false}));
        let (one, other) = join(patch(&fronts[0], PATH, &language), patch(&fronts[1], PATH, &figures)).await;
        one.expect(200);
        other.expect(200);
        assert_eq!(set().await, json!({"language": "", "public_figures": false}));
        assert_eq!(bob.get(PATH).await.expect(200)["preferences"], json!({"language": "", "public_figures": false}));
    });
}
