//! The coreloop binary.
fn main() {}
