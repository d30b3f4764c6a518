//! Live maps over gRPC: who moves is told how far shops are, which come and which go, at a bearable pace.

use coreloop_location::globe::Point;
use coreloop_location_api::v1::{TrackRequest, TrackResponse, location_service_client::LocationServiceClient};
use coreloop_testkit::{Persona, TestMesh, rpc, run, wait::within, wait_until};
use futures::future::join_all;
use serde_json::json;
use tokio::{
    sync::mpsc::{Sender, channel},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::stage::{HALL, LONG, MESH, NOWON, SEA, Shop, asked, counts, fault, mesh, north, path, there};

/// A live map of somebody.
struct Track {
    fixes: Option<Sender<TrackRequest>>,
    told: Streaming<TrackResponse>,
}

impl Track {
    async fn open(mesh: &TestMesh, who: &Persona) -> Result<Self, Status> {
        let (fixes, said) = channel(64);
        let mut request = Request::new(ReceiverStream::new(said));
        let bearer = format!("Bearer {}", who.access_token);
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        let told = LocationServiceClient::new(mesh.grpc("location")).track(request).await?.into_inner();
        Ok(Self { fixes: Some(fixes), told })
    }

    /// A live map that is open.
    async fn of(mesh: &TestMesh, who: &Persona) -> Self {
        let mut track = Self::open(mesh, who).await.unwrap();
        assert_eq!(track.next().await.r#type, "opened");
        track
    }

    async fn say(&self, fix: TrackRequest) {
        self.fixes.as_ref().unwrap().send(fix).await.unwrap();
    }

    async fn is_at(&self, id: i64, place: Point) {
        self.say(TrackRequest { fix_id: id, lat: Some(place.lat), lng: Some(place.lng), radius: 0 }).await;
    }

    async fn next(&mut self) -> TrackResponse {
        within("a message", LONG, self.told.message()).await.unwrap().expect("the stream goes on")
    }

    /// The next that is no sign of life.
    async fn answer(&mut self) -> TrackResponse {
        loop {
            let message = self.next().await;
            if message.r#type != "idle" {
                return message;
            }
        }
    }
}

fn entered(message: &TrackResponse) -> Vec<&str> {
    message.entered.iter().map(|one| one.shop.as_ref().unwrap().shop_id.as_str()).collect()
}

#[test]
fn who_moves_is_told_what_comes_and_what_goes() {
    run(async {
        let mesh = mesh().start().await;
        let alice = mesh.persona("alice").await;
        let mut track = Track::of(&mesh, &alice).await;
        let mut reach: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
        for step in 0..8_u32 {
            let place = north(HALL, f64::from(step) * 190.0);
            track.is_at(i64::from(step) + 1, place).await;
            let message = track.answer().await;
            assert_eq!((message.r#type.as_str(), message.fix_id), ("position", i64::from(step) + 1));
            assert_eq!(message.source, "KAKAO");
            for id in &message.left {
                assert!(reach.remove(id), "{id} left and was not there");
            }
            for id in entered(&message) {
                assert!(reach.insert(id.to_owned()), "{id} came twice");
            }
            let wanted = there(place, 2_000.0, Shop::is_searched);
            assert_eq!(reach, wanted.iter().map(|id| (*id).to_owned()).collect::<std::collections::BTreeSet<_>>());
            let told: Vec<&str> = message.distances.iter().map(|one| one.shop_id.as_str()).collect();
            assert_eq!(told, wanted, "the nearest first");
        }
        // 1,330 metres on the way: loaded anew each four hundred, and never by the fix.
        let searches = asked(&mesh).await["keyword"];
        assert!((2..=4).contains(&searches), "{searches}");
        // Another radius holds from then on; at sea nothing is left.
        track.say(TrackRequest { fix_id: 20, lat: Some(HALL.lat), lng: Some(HALL.lng), radius: 700 }).await;
        assert_eq!(track.answer().await.distances.len(), there(HALL, 700.0, Shop::is_searched).len());
        track.is_at(21, SEA).await;
        let message = track.answer().await;
        assert_eq!((message.distances.len(), message.left.len()), (0, there(HALL, 700.0, Shop::is_searched).len()));
    });
}

#[test]
fn a_bad_fix_is_refused_and_the_stream_goes_on() {
    run(async {
        let mesh = MESH.get().await;
        let mut track = Track::of(mesh, &mesh.persona("alice").await).await;
        for (id, lat, lng, radius) in [
            (1, Some(90.1), Some(0.0), 0),
            (2, Some(0.0), Some(-180.1), 0),
            (3, Some(f64::NAN), Some(0.0), 0),
            (4, Some(0.0), None, 0),
            (5, Some(0.0), Some(0.0), 20_001),
            (6, Some(0.0), Some(0.0), -1),
        ] {
            track.say(TrackRequest { fix_id: id, lat, lng, radius }).await;
            let message = track.answer().await;
            assert_eq!(
                (message.r#type.as_str(), message.fix_id, message.reason.as_str()),
                ("refused", id, "FIX_INVALID")
            );
            assert!(!message.detail.is_empty());
        }
        track.is_at(7, Point { lat: -90.0, lng: 180.0 }).await;
        let message = track.answer().await;
        assert_eq!((message.r#type.as_str(), message.fix_id), ("position", 7));
    });
}

#[test]
fn of_many_fixes_the_newest_counts_and_nobody_is_told_more_than_twice_a_second() {
    run(async {
        let mesh = MESH.get().await;
        let mut track = Track::of(mesh, &mesh.persona("alice").await).await;
        let began = Instant::now();
        for id in 1..=500 {
            track.is_at(id, SEA).await;
            track.say(TrackRequest { fix_id: id, lat: Some(91.0), lng: Some(0.0), radius: 0 }).await;
        }
        let (mut messages, mut newest) = (0_u32, false);
        while !newest {
            let message = track.answer().await;
            messages += 1;
            newest = message.r#type == "position" && message.fix_id == 500;
        }
        // The first half second has none.
        let most = began.elapsed().as_millis() / 500 + 1;
        assert!(u128::from(messages) <= most, "{messages} in {:?}", began.elapsed());
    });
}

#[test]
fn a_client_that_ends_hears_what_it_asked_for_and_then_the_end() {
    run(async {
        let mesh = MESH.get().await;
        let mut track = Track::of(mesh, &mesh.persona("alice").await).await;
        track.is_at(1, SEA).await;
        track.fixes = None;
        assert_eq!(track.answer().await.fix_id, 1);
        let end = within("the end", LONG, track.told.message()).await;
        assert!(matches!(end, Ok(None)), "{end:?}");
    });
}

#[test]
fn what_is_no_message_ends_it_with_its_reason() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let bearer = format!("Bearer {}", alice.access_token);
        let path = "/coreloop.location.v1.LocationService/Track";
        for (message, reason) in
            [(vec![0xff, 0xff], "MALFORMED_REQUEST"), (vec![0x32; (1 << 20) + 1], "BODY_TOO_LARGE")]
        {
            let said = rpc::open(&mesh.grpc("location"), path, &message, &[("authorization", &bearer)]).await;
            let mut told = said.unwrap();
            let refused = within("the end", LONG, async {
                loop {
                    match told.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("it ended well"),
                        Err(status) => return status,
                    }
                }
            })
            .await;
            assert_eq!(rpc::reason(&refused), reason, "{refused}");
        }
    });
}

/// Who says that they are elsewhere twice a second would use up the provider's day.
#[test]
fn a_map_that_is_loaded_counts_as_a_search_of_its_owner() {
    run(async {
        let limited = mesh().setting("limit.enabled", true).setting("limit.redis_timeout_ms", 10_000_i64);
        let mesh = limited.start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let mut track = Track::of(&mesh, &alice).await;
        let near = path(HALL, 2_500);
        let all = join_all((0..130).map(|_| alice.get(&near))).await;
        assert!(all.iter().any(|answer| answer.status == 429), "alice may search no more for a while");
        let before = asked(&mesh).await;
        track.is_at(1, NOWON).await;
        let message = track.answer().await;
        assert_eq!((message.r#type.as_str(), message.reason.as_str()), ("position", "SHOPS_UNAVAILABLE"));
        assert_eq!(asked(&mesh).await, before, "nobody was asked");
        // Nobody else pays for it.
        let mut bobs = Track::of(&mesh, &bob).await;
        bobs.is_at(1, NOWON).await;
        assert_eq!(bobs.answer().await.source, "KAKAO");
    });
}

#[test]
fn a_user_has_so_many_and_gives_them_back() {
    run(async {
        let mesh = mesh().setting("location.tracks_per_user", 2_i64).start().await;
        let (alice, bob) = (mesh.persona("alice").await, mesh.persona("bob").await);
        let (first, _second) = (Track::of(&mesh, &alice).await, Track::of(&mesh, &alice).await);
        let refused = Track::open(&mesh, &alice).await.err().unwrap();
        assert_eq!(rpc::reason(&refused), "TOO_MANY_TRACKS");
        let _bobs = Track::of(&mesh, &bob).await;
        assert!(counts(&mesh, "location_open_tracks 3"));
        drop(first);
        wait_until("it is given back", LONG, async || counts(&mesh, "location_open_tracks 2")).await;
        Track::of(&mesh, &alice).await;
    });
}

#[test]
fn it_ends_with_the_session() {
    run(async {
        let mesh = MESH.get().await;
        let alice = mesh.persona("alice").await;
        let mut track = Track::of(mesh, &alice).await;
        track.is_at(1, SEA).await;
        track.answer().await;
        alice.logout().await;
        let ended = within("the end", LONG, async {
            loop {
                match track.told.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it ended well"),
                    Err(status) => return status,
                }
            }
        })
        .await;
        assert_eq!(rpc::reason(&ended), "TOKEN_REVOKED");
    });
}

#[test]
fn who_stands_still_hears_a_sign_of_life_and_a_provider_that_fails_ends_no_map() {
    run(async {
        let mesh = mesh().setting("location.track_beat_secs", 1_i64).start().await;
        let alice = mesh.persona("alice").await;
        let mut track = Track::of(&mesh, &alice).await;
        let idle = track.next().await;
        assert_eq!((idle.r#type.as_str(), idle.timestamp.is_some()), ("idle", true));
        fault(&mesh, json!({"kind": "error", "status": 500})).await;
        track.is_at(1, HALL).await;
        let message = track.answer().await;
        assert_eq!((message.r#type.as_str(), message.source.as_str()), ("position", "FALLBACK"));
        assert_eq!(entered(&message), there(HALL, 2_000.0, |_| true));
    });
}
