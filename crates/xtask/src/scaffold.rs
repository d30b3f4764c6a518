//! Scaffolding.
use std::path::Path;

use anyhow::Result;

pub(crate) fn service(_root: &Path, _name: &str) -> Result<()> {
    Ok(())
}

pub(crate) fn rpc(_root: &Path, _domain: &str, _rpc: &str) -> Result<()> {
    Ok(())
}
