//! A process of the product, or the witness: started, killed, frozen, started again.

use std::{fs, path::PathBuf};

use anyhow::Result;
use coreloop_testkit::child::Child;
use rustix::process::Signal;

/// Letters shown of what a process said last.
const LAST_WORDS: usize = 400;

/// A process that can be killed and comes back as it was.
#[derive(Debug)]
pub(crate) struct Service {
    /// Name, as `wallet-0`.
    pub(crate) name: String,
    program: String,
    arguments: Vec<String>,
    log: PathBuf,
    ready: PathBuf,
    child: Option<Child>,
    /// What it said last, each time that it ended by itself.
    pub(crate) ended: Vec<String>,
}

impl Service {
    /// One that is not started. It makes the file `ready` when it is.
    pub(crate) fn new(name: &str, program: &str, arguments: Vec<String>, folder: &std::path::Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments,
            log: folder.join(format!("{name}.log")),
            ready: folder.join(format!("{name}.ready")),
            child: None,
            ended: Vec::new(),
        }
    }

    /// Starts it; its output goes after what it said before.
    ///
    /// # Errors
    /// When its log cannot be written.
    pub(crate) fn start(&mut self) -> Result<()> {
        let _none_yet = fs::remove_file(&self.ready);
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        self.child = Some(Child::start(&self.program, &self.arguments, log));
        Ok(())
    }

    /// Kills it where it stands.
    pub(crate) fn kill(&mut self) {
        self.child = None;
    }

    /// Stops it, everything open.
    pub(crate) fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(child) = &mut self.child
            && child.runs()
        {
            child.signal(signal);
        }
    }

    /// Whether it serves. One that was started and has ended by itself (its database was away) is started again, as any
    /// supervisor does.
    pub(crate) fn serves(&mut self) -> Result<bool> {
        if self.child.as_mut().is_some_and(|child| !child.runs()) {
            self.ended.push(format!("{}: {}", self.name, self.last_words()));
            self.start()?;
        }
        Ok(self.child.is_some() && self.ready.exists())
    }

    /// The last line of its log, which may be cut.
    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("(nothing)");
        last.chars().take(LAST_WORDS).collect()
    }

    /// Starts it if it was killed.
    pub(crate) fn revive(&mut self) -> Result<()> {
        if self.child.is_none() { self.start() } else { Ok(()) }
    }
}
