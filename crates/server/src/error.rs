//! Why a process does not start.

/// Why a process does not start. The text is for the person who started it and names the setting to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Wrong settings, all of them.
    #[error(transparent)]
    Settings(#[from] coreloop_config::Errors),
    /// A part that start-up itself needs does not answer or refuses.
    #[error("{what}")]
    Part {
        /// What was tried, and which setting names it.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A port is taken or not ours to bind.
    #[error("cannot listen on {address} (setting {setting})")]
    Bind {
        /// Address asked for.
        address: String,
        /// Setting that names it.
        setting: String,
        /// Why.
        source: std::io::Error,
    },
    /// A module could not be built.
    #[error("`{module}` cannot start")]
    Module {
        /// Which.
        module: &'static str,
        /// Why.
        #[source]
        source: coreloop_service::BuildError,
    },
}
