//! Parts that must be processes of their own, so that their CPU can be told apart: this binary, started again.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

/// A started part. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Part {
    child: Child,
    /// Where it listens, as it said in its first line.
    pub(crate) address: String,
}

impl Part {
    /// Starts `coreloop-bench child <role> <arguments…>` and waits for its address.
    ///
    /// # Errors
    /// When it ends before it says one.
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("child").arg(role).args(arguments);
        Self::spawn(command, role)
    }

    fn spawn(mut command: Command, role: &str) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("starting {role}"))?;
        let out = child.stdout.take().with_context(|| format!("{role} has no output"))?;
        let mut address = String::new();
        BufReader::new(out).read_line(&mut address)?;
        let address = address.trim().to_owned();
        anyhow::ensure!(!address.is_empty(), "{role} ended before it was ready");
        Ok(Self { child, address })
    }

    /// Takes over a process that something else started.
    pub(crate) fn adopt(child: Child, address: String) -> Self {
        Self { child, address }
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
