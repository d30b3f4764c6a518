//! `coreloop config`: the settings in force, and everything that is wrong with them.

use coreloop_config::{Errors, Settings};
use coreloop_server::ProcessOptions;
use coreloop_service::Mode;

/// What to show.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Lists every problem, each with file and line or variable name; exit code 2 when there is one.
    Check,
    /// Shows what is in force and where it comes from, secrets redacted.
    Print,
}

/// Shows it.
pub(crate) fn run(settings: &Settings, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Check => {
            check(settings)?;
            println!("the settings are good");
        }
        Command::Print => print!("{}", settings.print()),
    }
    Ok(())
}

/// Reads every section as its room does, so that all problems come at once and not one a start.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn check(settings: &Settings) -> Result<(), Errors> {
    let mut errors = Errors::default();
    let mode = errors.absorb(settings.read::<Mode>("mode"));
    errors.absorb(ProcessOptions::read(settings));
    errors.absorb(settings.section("limit").read::<coreloop_limit::Options>());
    errors.absorb(coreloop_auth::Options::read(&settings.section("auth"), mode.unwrap_or_default()));
    errors.absorb(coreloop_gateway::Options::read(&settings.section("gateway")));
    errors.absorb(settings.section("sandbox").read::<coreloop_sandbox::Options>());
    errors.into_result()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_problem_of_every_section_comes_at_once() {
        let text = "mode = \"local\"\n[auth]\naccess_ttl_secs = \"soon\"\nacess_ttl = 1\n[gateway]\nbody_limit_bytes = -1\n[server]\nadmin_port = 99999\n";
        let settings = Settings::defaults().with_toml("coreloop.toml", text).unwrap();
        let found = check(&settings).unwrap_err().to_string();
        for part in [
            "coreloop.toml:3",
            "auth.access_ttl_secs",
            "coreloop.toml:4",
            "gateway.body_limit_bytes",
            "server.admin_port",
        ] {
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn the_defaults_of_local_mode_are_good() {
        let settings = Settings::defaults().with("mode", "local");
        assert_eq!(check(&settings), Ok(()));
    }

    /// What the embedded file says and what the code does without it are the same, so the file documents the truth.
    #[test]
    fn the_embedded_file_is_the_defaults() {
        fn same<T: serde::de::DeserializeOwned + Default + std::fmt::Debug>(name: &str) {
            let written = Settings::defaults().section(name).read::<T>().unwrap();
            assert_eq!(format!("{written:#?}"), format!("{:#?}", T::default()), "[{name}]");
        }
        same::<coreloop_server::ServerOptions>("server");
        same::<coreloop_db::Options>("database");
        same::<coreloop_server::RedisOptions>("redis");
        same::<coreloop_server::LogOptions>("log");
        same::<coreloop_server::OtlpOptions>("otlp");
        same::<coreloop_access::Options>("access");
        same::<coreloop_limit::Options>("limit");
        same::<coreloop_auth::Options>("auth");
        same::<coreloop_gateway::Options>("gateway");
        same::<coreloop_sandbox::Options>("sandbox");
    }

    /// Every key that an options struct has is in the file, if only as a comment.
    #[test]
    fn the_embedded_file_names_every_optional_key() {
        for key in
            ["url", "admin_url", "password", "endpoint", "master_key", "mesh_secret", "age_webhook_secret", "api_key"]
        {
            assert!(coreloop_config::DEFAULTS.contains(&format!("# {key} = ")), "{key}");
        }
    }

    #[test]
    fn production_refuses_to_start_without_its_secrets() {
        let found = check(&Settings::defaults()).unwrap_err().to_string();
        assert!(found.contains("auth.master_key"), "{found}");
    }
}
