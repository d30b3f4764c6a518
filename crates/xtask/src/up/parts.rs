//! The processes of the product: schema and seed, sandbox, services, Envoy.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::settings::Ports;
use crate::{
    account::Account,
    child::{self, Server},
    place, probe,
    progress::Step,
};

/// What the parts are started with.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) root: &'a Path,
    pub(super) binary: &'a Path,
    pub(super) settings: &'a Path,
    pub(super) ports: &'a Ports,
}

/// Makes roles, schemas and tables, and puts the seed in.
pub(super) fn prepare(root: &Path, binary: &Path, settings: &Path) -> Result<()> {
    let logs = place::private(root)?.join("logs");
    for (command, done) in [("migrate", "roles, schemas and tables are current"), ("seed", "local data is there")] {
        let step = Step::begin(command);
        let mut run = Command::new(binary);
        run.arg("--config").arg(settings).arg(command).current_dir(root);
        child::run_logged(&format!("coreloop {command}"), &mut run, &logs.join(format!("{command}.log")))?;
        step.done(done);
    }
    Ok(())
}

impl Parts<'_> {
    /// The stand-ins for third parties.
    pub(super) fn sandbox(&self) -> Result<Server> {
        let step = Step::begin("sandbox");
        let mut command = self.coreloop(&["sandbox"]);
        let port = self.ports.sandbox;
        command.args(["--port", &port.to_string()]);
        let mut server = Server::start("sandbox", &mut command, &self.log("sandbox")?, Signal::TERM)?;
        server.wait_until(Duration::from_secs(30), || probe::status(port, "/_sandbox/faults").is_some())?;
        step.done("up");
        Ok(server)
    }

    /// Every service in one process.
    pub(super) fn services(&self) -> Result<Server> {
        let step = Step::begin("services");
        let ready = place::private(self.root)?.join("ready");
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let mut command = self.coreloop(&["serve", "all", "--ready-file"]);
        command.arg(&ready);
        let mut server = Server::start("services", &mut command, &self.log("services")?, Signal::TERM)?;
        let port = self.ports.gateway;
        server.wait_until(Duration::from_secs(60), || ready.exists() && probe::status(port, "/readyz") == Some(200))?;
        step.done("up");
        Ok(server)
    }

    /// Envoy in front.
    pub(super) fn envoy(&self, program: &Path) -> Result<Server> {
        let step = Step::begin("Envoy");
        let path = self.envoy_config()?;
        let mut command = Account::Current.command(program, "TERM");
        command.arg("--config-path").arg(path).args(["--disable-hot-restart", "--concurrency", "2"]);
        let mut server = Server::start("envoy", &mut command, &self.log("envoy")?, Signal::TERM)?;
        let (listener, admin) = (self.ports.envoy, self.ports.envoy_admin);
        server.wait_until(Duration::from_secs(60), || {
            probe::status(admin, "/ready") == Some(200) && probe::status(listener, "/readyz") == Some(200)
        })?;
        step.done("up");
        Ok(server)
    }

    fn envoy_config(&self) -> Result<PathBuf> {
        let path = place::private(self.root)?.join("envoy.yaml");
        let mut command = Command::new(self.binary);
        command.arg("--config").arg(self.settings).arg("envoy-config").current_dir(self.root);
        command.args(["--port", &self.ports.envoy.to_string(), "--admin-port", &self.ports.envoy_admin.to_string()]);
        let text = child::output(&mut command).context("coreloop envoy-config")?;
        fs::write(&path, text)?;
        Ok(path)
    }

    fn coreloop(&self, args: &[&str]) -> Command {
        let mut command = Account::Current.command(self.binary, "TERM");
        command.arg("--config").arg(self.settings).args(args).current_dir(self.root);
        command
    }

    fn log(&self, name: &str) -> Result<PathBuf> {
        Ok(place::private(self.root)?.join("logs").join(format!("{name}.log")))
    }
}
