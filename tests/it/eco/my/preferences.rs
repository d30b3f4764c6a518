//! Preferences: what is named is set, the rest stays.

use coreloop_testkit::run;
use serde_json::json;

use super::stage::{MESH, patch};

const PATH: &str = "/api/v1/my/preferences";

#[test]
fn what_is_named_is_set_and_the_rest_stays() {
    run(async {
        let mesh = MESH.get().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let (hidden, shown) = (json!({"public_figures": false}), json!({"public_figures": true}));
        let set = async || alice.get(PATH).await.expect(200)["preferences"].clone();
        assert_eq!(set().await, hidden);
        assert_eq!(patch(&alice, PATH, &shown).await.expect(200)["preferences"], shown);
        // Nothing is named.
        assert_eq!(patch(&alice, PATH, &json!({})).await.expect(200)["preferences"], shown);
        assert_eq!(set().await, shown);
        let masked = format!("{PATH}?update_mask=public_figures");
        assert_eq!(patch(&alice, &masked, &json!({})).await.expect(200)["preferences"], hidden);
        patch(&alice, PATH, &shown).await.expect(200);
        patch(&alice, PATH, &hidden).await.expect(200);
        assert_eq!(set().await, hidden);
        assert_eq!(bob.get(PATH).await.expect(200)["preferences"], hidden);
    });
}
