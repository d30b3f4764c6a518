//! Free TCP ports for children.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

/// Below the range that outgoing connections take theirs from, so a port found free stays free until its server binds.
const FIRST: u16 = 15_000;
const COUNT: u16 = 16_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 that nobody listens on; each call answers another one. It is asked, not tried: a child that is started
/// meanwhile would hold the socket of a trial until it is its own program, and whoever binds the port would find it taken.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free() -> u16 {
    // Far from where another process begins.
    let start = u16::try_from(std::process::id().wrapping_mul(64) % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step)) % COUNT;
        let asked = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_secs(1));
        if asked.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
