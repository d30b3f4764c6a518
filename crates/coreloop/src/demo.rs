//! `coreloop demo`: stories of the product, lived against a running mesh as an app lives them, and told as they happen.

mod api;
mod eco;
mod heard;
mod json;
mod look;
mod person;
mod socket;
mod teller;

use coreloop_config::Settings;

/// Which story. Exit code 1 when a step does not come; the last line says which.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// A photo becomes a character: upload, classification, character, figures, notification, live on a socket, in one trace.
    Eco(eco::Arguments),
}

/// Lives it. Settings say where, where they were given (`configured`): those of `cargo xtask up` are `.coreloop/coreloop.toml`.
///
/// # Errors
/// A step that was refused or did not come in its time.
pub(crate) async fn run(settings: &Settings, configured: bool, command: Command) -> anyhow::Result<()> {
    let Command::Eco(arguments) = command;
    eco::run(settings, configured, arguments).await
}
