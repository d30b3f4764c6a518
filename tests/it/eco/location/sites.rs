//! Sites: read whole or not at all, found by an index that comes back by itself.

use coreloop_core::{Clock as _, Ids as _, id::SystemIds};
use coreloop_location::{globe::Point, sites};
use coreloop_testkit::{
    Fault, TestMesh,
    mesh::Before,
    run,
    wait::{wait_for, wait_until},
};
use redis::aio::ConnectionManager;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::stage::{HALL, LONG, mesh, north};

const CSV: &str = "id,name,kind,lat,lng,address,hours,tags\n\
                   hall,건전지 수거함,battery,37.5665,126.978,\"서울, 중구\",1-7 00:00-24:00,battery|lamp\n\
                   near,종이팩 수거함,paperpack,37.5675,126.978,,,\n\
                   far,의류 수거함,clothes,37.6,126.978,,,\n\
                   east,섬,clothes,0,179.9995,,,\n\
                   west,섬,clothes,0,-179.9995,,,\n";

async fn pool(mesh: &TestMesh) -> PgPool {
    PgPool::connect(&mesh.db.url()).await.unwrap()
}

/// What `coreloop sites load` does.
async fn load(mesh: &TestMesh, text: &str) -> i64 {
    sites::load(&pool(mesh).await, &sites::read(text).unwrap(), mesh.clock.now()).await.unwrap()
}

async fn index(mesh: &TestMesh) -> bool {
    let client = redis::Client::open(mesh.redis.url()).unwrap();
    let redis = ConnectionManager::new(client).await.unwrap();
    sites::refresh(&pool(mesh).await, &redis, SystemIds.uuid()).await.unwrap()
}

async fn near(mesh: &TestMesh, place: Point, radius_m: u32) -> Vec<Value> {
    let path = format!("/api/v1/location/sites?lat={}&lng={}&radius={radius_m}", place.lat, place.lng);
    mesh.rest().get(&path).send().await.expect(200)["sites"].as_array().unwrap().clone()
}

async fn ids(mesh: &TestMesh, place: Point, radius_m: u32) -> Vec<String> {
    near(mesh, place, radius_m).await.iter().map(|site| site["site_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn sites_are_found_by_the_index_and_without_it_alike() {
    run(async {
        let mesh = mesh().start().await;
        assert_eq!(ids(&mesh, HALL, 2_000).await, Vec::<String>::new());
        load(&mesh, CSV).await;
        for indexed in [false, true] {
            if indexed {
                index(&mesh).await;
                assert!(!index(&mesh).await, "it is of this loading");
            } else {
                let mut redis = mesh.redis.connect().await;
                redis::cmd("DEL").arg("geo:sites:version").query_async::<i64>(&mut redis).await.unwrap();
            }
            let found = near(&mesh, HALL, 2_000).await;
            assert_eq!(found.len(), 2, "{found:?}");
            assert_eq!((&found[0]["name"], &found[0]["distance_m"]), (&json!("건전지 수거함"), &json!(0)));
            assert_eq!(
                (&found[0]["tags"], &found[0]["open_state"]),
                (&json!(["battery", "lamp"]), &json!("OPEN_STATE_OPEN"))
            );
            assert_eq!((&found[1]["distance_m"], &found[1]["open_state"]), (&json!(111), &json!("OPEN_STATE_UNKNOWN")));
            assert_eq!(ids(&mesh, north(HALL, 200.0), 20_000).await, ["near", "hall", "far"]);
            assert_eq!(ids(&mesh, Point { lat: 0.0, lng: 180.0 }, 100).await, ["east", "west"], "over the date line");
            assert_eq!(ids(&mesh, Point { lat: 90.0, lng: 0.0 }, 20_000).await, Vec::<String>::new());
        }
    });
}

#[test]
fn another_file_takes_the_place_of_all_and_one_with_a_mistake_of_nothing() {
    run(async {
        let mesh = mesh().start().await;
        let first = load(&mesh, CSV).await;
        index(&mesh).await;
        let json = r#"[{"id": "new", "name": "새 수거함", "kind": "battery", "lat": 37.5665, "lng": 126.978}]"#;
        assert_eq!(load(&mesh, json).await, first + 1);
        // The old index leads to nothing that is gone; a service may have made the new one by now.
        let meanwhile = ids(&mesh, HALL, 2_000).await;
        assert!(meanwhile.is_empty() || meanwhile == ["new"], "{meanwhile:?}");
        index(&mesh).await;
        assert_eq!(ids(&mesh, HALL, 2_000).await, ["new"]);
        assert!(sites::read("id,name,kind,lat,lng\nx,y,z,91,0\n").is_err());
        assert_eq!(ids(&mesh, HALL, 2_000).await, ["new"]);
        // None at all is a file, too.
        load(&mesh, "[]").await;
        index(&mesh).await;
        assert_eq!(ids(&mesh, HALL, 20_000).await, Vec::<String>::new());
    });
}

#[test]
fn an_index_of_another_database_gives_way() {
    run(async {
        let mesh = mesh().start().await;
        load(&mesh, CSV).await;
        index(&mesh).await;
        // The database came back from a backup: Redis knows what it does not.
        let mut redis = mesh.redis.connect().await;
        let mut ghost = redis::pipe();
        ghost.cmd("GEOADD").arg("geo:sites").arg(126.978).arg(37.5665).arg("ghost").ignore();
        ghost.cmd("SET").arg("geo:sites:version").arg(99).ignore();
        ghost.query_async::<()>(&mut redis).await.unwrap();
        index(&mesh).await;
        let version: i64 = redis::cmd("GET").arg("geo:sites:version").query_async(&mut redis).await.unwrap();
        let indexed: Vec<String> =
            redis::cmd("ZRANGE").arg("geo:sites").arg(0).arg(-1).query_async(&mut redis).await.unwrap();
        assert_eq!((version, indexed.len()), (1, 5), "{indexed:?}");
        // The service may be making it as well, by itself.
        wait_until("nothing is left half-made", LONG, async || {
            let left = redis::cmd("KEYS").arg("geo:sites:*").query_async::<Vec<String>>(&mut redis.clone()).await;
            left.unwrap() == ["geo:sites:version"]
        })
        .await;
    });
}

#[test]
fn a_service_that_starts_makes_the_index_and_without_redis_the_database_answers() {
    run(async {
        let mut mesh = mesh().setting("location.redis_timeout_ms", 300_i64).proxy(Before::Redis).start().await;
        load(&mesh, CSV).await;
        let node = mesh.node_mut(0, "location");
        node.stop().await;
        node.start().await;
        wait_for("the index is there", LONG, async || {
            let mut redis = mesh.redis.connect().await;
            let there: i64 = redis::cmd("EXISTS").arg("geo:sites").query_async(&mut redis).await.unwrap();
            (there == 1).then_some(())
        })
        .await;
        mesh.redis_proxy.as_ref().unwrap().set(Fault::Cut);
        assert_eq!(ids(&mesh, HALL, 2_000).await, ["hall", "near"]);
    });
}
