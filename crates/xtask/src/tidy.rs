//! `cargo xtask tidy`: the rules of the house that no compiler knows. Each rule says why it is there; a rule without an
//! enforcer would be deleted, so every one has a test with a planted violation. The tests also hold this checkout to
//! them, so `cargo test` fails where `tidy` would.

mod arrows;
mod contracts;
mod files;
mod scan;
mod sources;

use std::{fmt, path::Path};

use anyhow::{Result, bail};

use self::scan::File;

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// File, and line where there is one.
    place: String,
    /// What is wrong there.
    what: String,
    /// Why it is a rule.
    why: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (why: {})", self.place, self.what, self.why)
    }
}

/// Checks the checkout; fails with everything found.
pub(crate) fn run(root: &Path) -> Result<()> {
    let found = check(root)?;
    if found.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = found.iter().map(|finding| format!("  {finding}")).collect();
    bail!("{} places break rules of the house:\n{}", found.len(), lines.join("\n"))
}

fn check(root: &Path) -> Result<Vec<Finding>> {
    let files = File::all(root)?;
    let mut found = files::check(&files);
    found.extend(sources::check(&files));
    found.extend(contracts::check(&files));
    found.extend(arrows::check(&arrows::read(root)?));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_checkout_is_tidy() {
        if let Err(error) = run(&crate::place::root().unwrap()) {
            panic!("{error}");
        }
    }
}
