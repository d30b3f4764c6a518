//! Exported spans of a trace as the tree that they are.

use std::iter::successors;

use coreloop_testkit::{TestMesh, otlp::Received, wait::wait_for};
use tokio::time::timeout;

use super::stage::CALLER;
use crate::eco::stage::LONG;

/// The spans of a trace.
struct Tree(Vec<Received>);

impl Tree {
    fn of(mesh: &TestMesh, trace: &str) -> Self {
        Self(mesh.otlp.as_ref().expect("a receiver of traces").trace(trace))
    }

    fn parent(&self, of: &Received) -> Option<&Received> {
        self.0.iter().find(|other| other.span.span_id == of.span.parent_span_id)
    }

    /// Names from a span up to what began it.
    fn way(&self, from: &Received) -> Vec<String> {
        let way = successors(self.0.iter().find(|one| one.span.span_id == from.span.span_id), |one| self.parent(one));
        // A span that is its own ancestor is no tree.
        way.take(100).map(label).collect()
    }

    /// There is a span of the first name below those of the others, in this order.
    fn has(&self, stations: &[&str]) -> bool {
        self.0.iter().any(|span| {
            let way = self.way(span);
            let mut rest = way.iter();
            way.first().is_some_and(|first| first.contains(stations[0]))
                && stations.iter().all(|station| rest.any(|label| label.contains(station)))
        })
    }

    /// Spans that hang neither below another of the trace nor below the caller's.
    fn adrift(&self) -> Vec<String> {
        let caller = u64::from_str_radix(CALLER, 16).expect("a span").to_be_bytes();
        let lost = self.0.iter().filter(|one| self.parent(one).is_none() && one.span.parent_span_id != caller);
        lost.map(label).collect()
    }
}

/// `<topic> by <consumer>`, or the name of a call.
fn label(received: &Received) -> String {
    let consumer = text(received, "messaging.consumer.group.name");
    if consumer.is_empty() {
        received.span.name.clone()
    } else {
        format!("{} by {consumer}", text(received, "messaging.destination.name"))
    }
}

/// An attribute that is a text.
fn text(received: &Received, key: &str) -> String {
    let attribute = received.span.attributes.iter().find(|attribute| attribute.key == key);
    let shown = attribute.map(|attribute| format!("{attribute:?}")).unwrap_or_default();
    let text = shown.split_once("StringValue(\"").and_then(|(_, rest)| rest.split_once('"'));
    text.map(|(text, _)| text.to_owned()).unwrap_or_default()
}

/// Waits until a trace has all of `ways`, each from a span up to what caused it, and everything in it hangs below the caller's span.
pub async fn whole(mesh: &TestMesh, trace: &str, ways: &[&[&str]]) {
    let mut last = (Vec::new(), Vec::new(), Vec::new());
    let looking = wait_for("the trace is whole", LONG * 2, async || {
        let tree = Tree::of(mesh, trace);
        let missing: Vec<_> = ways.iter().filter(|way| !tree.has(way)).collect();
        let complete = missing.is_empty() && tree.adrift().is_empty();
        last = (missing, tree.adrift(), tree.0.iter().map(|span| tree.way(span).join(" < ")).collect());
        complete.then_some(())
    });
    let found = timeout(LONG, looking).await;
    let (missing, adrift, all) = last;
    assert!(found.is_ok(), "not in {trace}: {missing:#?}\nadrift: {adrift:#?}\nof {all:#?}");
}
