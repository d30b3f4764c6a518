//! `cargo xtask bench`: the figures of chapter 10, of the build that is shipped, on a PostgreSQL that writes through.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{child, test::Surroundings, tools};

/// Builds and runs the bench program with `args`.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    // The binary is measured as well, so all are built; and before the servers take their share of the machine.
    let mut build = Command::new("cargo");
    build.current_dir(root).args(["build", "--profile", "dist", "-p", "coreloop", "-p", "coreloop-bench"]);
    if !child::run(&mut build)?.success() {
        bail!("the release build failed");
    }
    let envoy = tools::envoy(root)?;
    let surroundings = Surroundings::start(root, true)?;
    let mut command = Command::new(root.join("target/dist/coreloop-bench"));
    command.current_dir(root).args(args).envs(surroundings.environment(&envoy));
    let status = child::run(&mut command)?;
    if status.success() { Ok(()) } else { bail!("the bench failed ({status})") }
}
