//! Logs and traces of the binary.

/// Logs and trace export of the process; dropped, it flushes what is left. Only the binary makes one.
#[derive(Debug)]
pub struct Telemetry;
