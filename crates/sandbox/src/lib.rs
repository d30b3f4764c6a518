//! Local stand-ins for third parties on the internet: true wire formats, switchable faults.
