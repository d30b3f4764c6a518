//! The log of the whole test process, as its services write it.

use std::{
    borrow::Cow,
    collections::VecDeque,
    io::Write,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use coreloop_server::{Lines, LogFormat, Sink};
use serde_json::Value;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Bytes of a page.
const PAGE: usize = 1 << 20;
/// Most pages kept; the oldest is forgotten beyond.
const MOST: usize = 64;

static KEPT: Mutex<Kept> = Mutex::new(Kept { full: VecDeque::new(), open: Vec::new() });

/// Pages, so that whoever reads shares the full ones and everybody who logs waits for a copy of one at most.
struct Kept {
    full: VecDeque<Arc<Vec<u8>>>,
    open: Vec<u8>,
}

struct Keeper;

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.open.extend_from_slice(bytes);
        // A line is one write: no page ends within one.
        if kept.open.len() >= PAGE {
            let full = std::mem::take(&mut kept.open);
            kept.full.push_back(Arc::new(full));
            if kept.full.len() > MOST {
                kept.full.pop_front();
            }
        }
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
    let pages = {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let open = Arc::new(kept.open.clone());
        kept.full.iter().cloned().chain([open]).collect::<Vec<_>>()
    };
    let pages = pages.iter().map(|page| String::from_utf8_lossy(page));
    let with = |page: Cow<'_, str>| -> Vec<Value> {
        let lines = page.lines().filter(|line| line.contains(text));
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    pages.flat_map(with).collect()
}
