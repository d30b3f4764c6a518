//! The log of the whole test process, as its services write it.

use std::{
    io::Write,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use coreloop_server::{Lines, LogFormat, Sink};
use serde_json::Value;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Most bytes kept; the oldest half is forgotten beyond.
const MOST: usize = 64 << 20;

static KEPT: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(Arc::default);

struct Keeper;

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() > MOST {
            kept.drain(..MOST / 2);
        }
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Begins to keep what is logged, once a process. Every mesh does.
pub(crate) fn keep() {
    static ONCE: LazyLock<()> = LazyLock::new(|| {
        let sink: Sink = Arc::new(Mutex::new(Keeper));
        let filter: EnvFilter = "info".parse().expect("a filter");
        let _ = tracing_subscriber::registry().with(filter).with(Lines::new(LogFormat::Json, sink)).try_init();
    });
    LazyLock::force(&ONCE);
}

/// The lines that contain `text`, as they were written.
#[must_use]
pub fn lines_with(text: &str) -> Vec<Value> {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = String::from_utf8_lossy(&kept);
    kept.lines().filter(|line| line.contains(text)).filter_map(|line| serde_json::from_str(line).ok()).collect()
}
