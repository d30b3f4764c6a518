//! Arrows point down: which crate may use which, read from `cargo metadata`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};

use super::Finding;

const WHY: &str = "arrows point down: what is below is understood, built and tested without what is above";
const WHY_DOMAINS: &str = "a domain knows another's contract, never its inside, so each can change or move alone";

/// The floors of the house, lowest first. A crate may use the floors below its own; the capability crates, which share
/// a floor, also those listed before them.
const FLOORS: &[&[&str]] = &[
    &["coreloop-core", "coreloop-planted"],
    &[
        "coreloop-config",
        "coreloop-db",
        "coreloop-transcode",
        "coreloop-limit",
        "coreloop-access",
        "coreloop-idempotency",
        "coreloop-outbound",
    ],
    &["coreloop-service"],
    &["coreloop-eventing", "coreloop-eventstore"],
    &["coreloop-eventing-kafka", "coreloop-eventing-rabbitmq", "coreloop-eventing-sqs"],
    &["<api>"],
    &["coreloop-facts"],
    &["<domain>", "coreloop-gateway"],
    &["coreloop-server", "coreloop-sandbox"],
    &["coreloop-testkit", "coreloop"],
    &["coreloop-bench", "coreloop-prove", "it", "xtask"],
];

/// Each crate of the workspace and those of it that it uses; what only tests use is left out.
pub(super) type Arrows = BTreeMap<String, Vec<String>>;

pub(super) fn read(root: &Path) -> Result<Arrows> {
    let metadata = MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    let mut arrows = Arrows::new();
    for package in &metadata.packages {
        let uses = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        arrows.insert(package.name.to_string(), uses.map(|dependency| dependency.name.clone()).collect());
    }
    if arrows.is_empty() {
        bail!("cargo metadata shows no crates");
    }
    Ok(arrows)
}

pub(super) fn check(arrows: &Arrows) -> Vec<Finding> {
    let mut found = Vec::new();
    for (user, uses) in arrows {
        for used in uses.iter().filter(|used| arrows.contains_key(*used)) {
            let (from, to) = (place(user), place(used));
            let (what, why) = match (from, to) {
                (None, _) => (format!("{user} stands on no floor; add it to FLOORS in crates/xtask"), WHY),
                (_, None) => (format!("{used} stands on no floor; add it to FLOORS in crates/xtask"), WHY),
                (Some(from), Some(to)) if to < from => continue,
                (Some(from), Some(to)) if domain(from) && domain(to) => {
                    (format!("{user} uses {used}: the inside of another domain"), WHY_DOMAINS)
                }
                _ => (format!("{user} uses {used}, which stands above or beside it"), WHY),
            };
            found.push(Finding { place: format!("Cargo.toml of {user}"), what, why });
        }
    }
    found
}

/// Floor, and place on it where the order on a floor counts.
fn place(name: &str) -> Option<(usize, usize)> {
    for (floor, rooms) in FLOORS.iter().enumerate() {
        if let Some(room) = rooms.iter().position(|room| *room == name) {
            return Some((floor, if floor == 1 { room } else { 0 }));
        }
    }
    let kind = if name.ends_with("-api") { "<api>" } else { "<domain>" };
    // Every other crate of ours is a domain or its contract.
    name.strip_prefix("coreloop-")?;
    FLOORS.iter().position(|rooms| rooms.contains(&kind)).map(|floor| (floor, 0))
}

fn domain((floor, _): (usize, usize)) -> bool {
    FLOORS.get(floor).is_some_and(|rooms| rooms.contains(&"<domain>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &[&str])]) -> Vec<String> {
        let mut arrows = Arrows::new();
        for (user, uses) in pairs {
            arrows.insert((*user).to_owned(), uses.iter().map(|used| (*used).to_owned()).collect());
            for used in *uses {
                arrows.entry((*used).to_owned()).or_default();
            }
        }
        check(&arrows).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn down_is_fine() {
        let arrows: &[(&str, &[&str])] = &[
            ("coreloop-db", &["coreloop-core", "coreloop-config"]),
            ("coreloop-wallet", &["coreloop-wallet-api", "coreloop-auth-api", "coreloop-service"]),
            ("coreloop", &["coreloop-wallet", "coreloop-server", "coreloop-gateway"]),
        ];
        assert!(found(arrows).is_empty(), "{:?}", found(arrows));
    }

    #[test]
    fn up_and_sideways_are_found() {
        assert_eq!(found(&[("coreloop-core", &["coreloop-db"])]).len(), 1);
        assert_eq!(found(&[("coreloop-config", &["coreloop-db"])]).len(), 1);
        assert_eq!(found(&[("coreloop-service", &["coreloop-server"])]).len(), 1);
        assert_eq!(found(&[("coreloop-auth-api", &["coreloop-auth"])]).len(), 1);
    }

    #[test]
    fn the_inside_of_another_domain_is_found() {
        let found = found(&[("coreloop-shop", &["coreloop-wallet"])]);
        assert!(found.first().is_some_and(|what| what.contains("inside of another domain")), "{found:?}");
    }

    #[test]
    fn what_only_tests_use_is_no_arrow_and_all_crates_are_seen() {
        let arrows = read(&crate::place::root().unwrap()).unwrap();
        assert!(arrows.contains_key("coreloop-core") && arrows.contains_key("xtask"));
        assert!(!arrows["xtask"].contains(&"tempfile".to_owned()));
    }
}
