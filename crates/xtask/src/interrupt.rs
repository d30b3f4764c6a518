//! Ctrl-C and SIGTERM: noted, then acted on by whoever waits, so that everything started is stopped in order.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static NOTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Starts noting the signals. A second one ends xtask at once; the servers then get their death signal.
pub(crate) fn watch() -> Result<()> {
    let flag = Arc::clone(NOTED.get_or_init(Arc::default));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(())
}

/// Whether a signal came.
pub(crate) fn came() -> bool {
    NOTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Ends the work at hand when a signal came.
pub(crate) fn check() -> Result<()> {
    if came() {
        bail!("interrupted");
    }
    Ok(())
}
