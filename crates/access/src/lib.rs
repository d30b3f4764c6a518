//! Who calls and whether they may: token verification, revocations, policy from descriptors.

/// Token verification and policy of a process.
#[derive(Debug)]
pub struct Gate;
