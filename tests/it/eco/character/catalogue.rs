//! The catalogue: fifteen from the beginning, known by their tag.

use coreloop_testkit::run;

use super::stage::MESH;

#[test]
fn fifteen_characters_are_there_in_both_languages_with_a_tag() {
    run(async {
        let mesh = MESH.get().await;
        let visitor = mesh.visitor("visitor");
        let answer = visitor.get("/api/v1/character/catalog").await;
        let shown = answer.expect(200);
        let seeded: Vec<_> = shown["characters"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["code"].as_str().unwrap().starts_with("CHR0"))
            .collect();
        assert_eq!(seeded.len(), 15, "{shown}");
        for (place, one) in seeded.iter().enumerate() {
            let code = format!("CHR{:03}", place + 1);
            assert_eq!(one["code"], code.as_str());
            assert_eq!(one["asset_url"], format!("characters/{code}/sprite.png"));
            for text in ["name", "lore", "type_label"] {
                let (en, ko) = (one[text]["en"].as_str().unwrap(), one[text]["ko"].as_str().unwrap());
                assert!(
                    en.is_ascii() && !en.is_empty() && ko.chars().any(|letter| ('가'..='힣').contains(&letter)),
                    "{one}"
                );
            }
            assert!(one["unlock"]["threshold"].is_i64() && !one["categories"].as_array().unwrap().is_empty(), "{one}");
        }
        assert_eq!(seeded[3]["unlock"]["condition_type"], "category_count");
        assert_eq!(seeded[3]["unlock"]["metadata"]["categories"][0], "plastic");
        assert_eq!(
            (&seeded[13]["unlock"]["threshold"], &seeded[14]["unlock"]["condition_type"]),
            (&7.into(), &"variety".into())
        );
        assert!(answer.header("cache-control").contains("max-age=60"), "{:?}", answer.headers);
        let known = visitor.rest().get("/api/v1/character/catalog").header("if-none-match", answer.header("etag"));
        assert_eq!(known.send().await.status, 304);
    });
}
