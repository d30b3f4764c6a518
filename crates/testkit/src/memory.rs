//! Memory of the whole test process: of the test that asks and of those beside it, if it is not [`crate::alone()`].

/// What it holds now, in KiB.
///
/// # Panics
/// When the kernel does not tell.
#[must_use]
pub fn resident_kib() -> u64 {
    told("VmRSS:")
}

/// The most it has held, in KiB.
///
/// # Panics
/// When the kernel does not tell.
#[must_use]
pub fn peak_kib() -> u64 {
    told("VmHWM:")
}

fn told(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
