//! The modules there are: the one place where a service joins the binary.

use anyhow::bail;
use coreloop_service::Module;

/// Makes a module.
type Make = fn() -> Box<dyn Module>;

/// Every module with the name it is served by.
const ALL: &[(&str, Make)] = &[
    // One a line: `cargo xtask new-service` puts its own after auth.
    ("auth", || Box::new(coreloop_auth::module())),
    ("character", || Box::new(coreloop_character::module())),
    ("chat", || Box::new(coreloop_chat::module())),
    ("image", || Box::new(coreloop_image::module())),
    ("location", || Box::new(coreloop_location::module())),
    ("my", || Box::new(coreloop_my::module())),
    ("notification", || Box::new(coreloop_notification::module())),
    ("ops", || Box::new(coreloop_ops::module())),
    ("realtime", || Box::new(coreloop_realtime::module())),
    ("rewards", || Box::new(coreloop_rewards::module())),
    ("scan", || Box::new(coreloop_scan::module())),
    ("shop", || Box::new(coreloop_shop::module())),
    ("wallet", || Box::new(coreloop_wallet::module())),
    ("edge", || Box::new(coreloop_gateway::module())),
];

/// The modules of `targets`, each once; `all` is every one, `gateway` is `edge`.
///
/// # Errors
/// A name that no module has.
pub(crate) fn of(targets: &[String]) -> anyhow::Result<Vec<Box<dyn Module>>> {
    let wanted: Vec<&str> = targets.iter().flat_map(|target| target.split(',')).map(canonical).collect();
    if let Some(unknown) = wanted.iter().find(|name| **name != "all" && !ALL.iter().any(|(known, _)| known == *name)) {
        bail!("no module is called `{unknown}`; there are all, {}", names().join(", "));
    }
    let chosen = |name: &str| wanted.contains(&"all") || wanted.contains(&name);
    Ok(ALL.iter().filter(|(name, _)| chosen(name)).map(|(_, make)| make()).collect())
}

/// Names of all modules.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|(name, _)| *name).collect()
}

/// Names of the modules that have tables.
pub(crate) fn with_tables() -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(|(_, make)| make().migrations().is_some()).map(|(name, _)| *name)
}

fn canonical(name: &str) -> &str {
    if name == "gateway" { "edge" } else { name }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn chosen(targets: &[&str]) -> Vec<&'static str> {
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        of(&targets).unwrap().iter().map(|module| module.name()).collect()
    }

    #[test]
    fn targets_name_modules_once() {
        assert_eq!(chosen(&["all"]), names());
        assert_eq!(chosen(&["gateway", "edge,gateway"]), ["edge"]);
        let error = of(&["wallte".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("`wallte`") && error.contains("auth"), "{error}");
    }

    #[test]
    fn a_module_goes_by_its_own_name() {
        for (name, make) in ALL {
            assert_eq!(make().name(), *name);
        }
    }
}
