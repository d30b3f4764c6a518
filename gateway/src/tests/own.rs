//! What the edge answers itself.

use coreloop_service::{Component, Metrics, Readiness};
use tonic::{Code, Request};

use crate::{
    describe, openapi_json,
    pb::{
        GetDocsRequest, GetMetricsRequest, GetOpenApiRequest, GetReadinessRequest,
        edge_service_server::EdgeService as _,
    },
    service::Own,
};

fn own(docs: bool, trouble: Option<&str>) -> Own {
    let component = Component { name: "auth/postgres".into(), trouble: trouble.map(str::to_owned) };
    let readiness = Readiness::new(move || std::future::ready(vec![component.clone()]));
    Own { docs, readiness, metrics: Metrics::default() }
}

#[tokio::test]
async fn readiness_names_what_is_away_and_never_why() {
    let ready = own(true, None).get_readiness(Request::new(GetReadinessRequest {})).await.unwrap().into_inner();
    assert_eq!((ready.status.as_str(), ready.components.len()), ("ready", 1));
    let away = own(true, Some("connect 10.0.0.1 refused")).get_readiness(Request::new(GetReadinessRequest {})).await;
    let status = away.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("auth/postgres") && !details.contains("10.0.0.1"), "{details}");
}

#[tokio::test]
async fn the_description_can_be_hidden() {
    let hidden = own(false, None);
    assert_eq!(hidden.get_open_api(Request::new(GetOpenApiRequest {})).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(hidden.get_docs(Request::new(GetDocsRequest {})).await.unwrap_err().code(), Code::NotFound);
    let shown = own(true, None).get_open_api(Request::new(GetOpenApiRequest {})).await.unwrap().into_inner();
    assert_eq!(shown.body.unwrap().content_type, "application/json");
}

#[tokio::test]
async fn metrics_are_what_was_registered() {
    let own = own(true, None);
    crate::metrics::Families::register(&own.metrics).refused("ROUTE_NOT_FOUND");
    let body = own.get_metrics(Request::new(GetMetricsRequest {})).await.unwrap().into_inner().body.unwrap();
    assert!(String::from_utf8_lossy(&body.data).contains("coreloop_edge_refused_total"));
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let page = std::str::from_utf8(describe::PAGE).unwrap();
    for outside in ["http://", "https://", "src=", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

/// The API description is reviewed like code: a change shows in the diff of `gateway/openapi.json`.
#[test]
fn the_checked_in_description_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let checked_in = std::fs::read(path).unwrap();
    assert!(
        checked_in == openapi_json(),
        "gateway/openapi.json is stale: run `cargo run -p coreloop -- openapi > gateway/openapi.json`"
    );
}
