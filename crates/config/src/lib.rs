//! Layered settings with every problem reported at once and secrets redacted.
//!
//! Three layers, later ones win: the embedded `config.default.toml`, the files named on the command line, the variables
//! `CORELOOP_…` of the environment. A room reads its own section into its own options struct ([`Section::read`]);
//! [`Errors`] lists everything that is wrong, each with `file:line` or the variable's name, because a person who fixes
//! settings one error at a time restarts once per error. Unknown keys are errors: a misspelt limit must not mean the
//! default. Rejected: the `config` and `figment` crates, which lose the line of a value and stop at the first error.
//!
//! **Only this crate reads the environment.**

mod environment;
mod error;
mod node;
mod parse;
mod print;
mod read;
mod section;
mod settings;
mod suggest;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;

pub use error::{Errors, Finding, Report};
pub use node::{Origin, Value};
pub use section::Section;
pub use settings::Settings;

/// The lowest layer: every key there is, with its default and what it does.
pub const DEFAULTS: &str = include_str!("../config.default.toml");
