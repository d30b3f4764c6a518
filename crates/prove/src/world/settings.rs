//! Processes of the product with their settings.

use std::path::Path;

use coreloop_planted::Bug;
use coreloop_testkit::mesh::{MASTER_KEY, MESH_SECRET};

use super::{Build, JARS};
use crate::{postgres::Postgres, service::Service};

/// A process of the product.
pub(super) fn served(
    name: &str,
    modules: &[&str],
    build: &Build,
    settings: &Path,
    folder: &Path,
    bug: Option<Bug>,
) -> Service {
    let (settings, ready) =
        (settings.display().to_string(), folder.join(format!("{name}.ready")).display().to_string());
    let program = build.product.display().to_string();
    let mut arguments = ["-u", JARS, &program, "--config", &settings, "serve"].map(str::to_owned).to_vec();
    arguments.extend(modules.iter().map(|module| (*module).to_owned()));
    arguments.extend(["--ready-file".to_owned(), ready]);
    arguments.extend(bug.into_iter().flat_map(|bug| ["--planted".to_owned(), bug.to_string()]));
    Service::new(name, "env", arguments, folder)
}

/// A port of this machine.
pub(super) fn here(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Whose settings: its database, how it reaches Postgres, its bug, what carries its events and commands where it is not Redis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) database: &'a str,
    pub(super) address: &'a str,
    pub(super) bug: Option<Bug>,
    pub(super) carried: &'a str,
}

/// Settings of a process whose Postgres is at `address`. It waits less than in production, so that a run of minutes sees what
/// else takes hours.
pub(super) fn settings_of(place: &Place<'_>, postgres: &Postgres, redis: &str, own: &str) -> String {
    let Place { database, address, bug, carried } = *place;
    let (url, admin) = (postgres.url_of(address, database), postgres.url_of(postgres.address(), database));
    // Who captures late must not be prevented each time by the sweep that would have come first.
    let sweep_secs = if bug == Some(Bug::LateCapture) { 6 } else { 2 };
    let eventing = "poll_ms = 500\nstandby_ms = 200\nbroker_timeout_ms = 1000";
    format!(
        "mode = \"local\"\n[database]\nurl = \"{url}\"\nadmin_url = \"{admin}\"\npassword = \"prove\"\nacquire_timeout_ms = 10000\nmax_connections = 8\n\
         statement_timeout_ms = 5000\nlock_timeout_ms = 2000\nidle_in_transaction_timeout_ms = 3000\n[redis]\nurl = \"{redis}\"\n\
         [auth]\nmaster_key = \"{MASTER_KEY}\"\nmesh_secret = \"{MESH_SECRET}\"\ninternal_ttl_secs = 3600\nseed = false\n\
         [limit]\nenabled = false\n[wallet]\nsweep_secs = {sweep_secs}\n[eventing]\n{eventing}\n{carried}{own}"
    )
}
