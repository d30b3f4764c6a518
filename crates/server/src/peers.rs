//! Channels to peers that run elsewhere.

use std::time::Duration;

use coreloop_service::Links;
use tonic::transport::{Channel, Endpoint};

use crate::{
    StartError,
    options::{ProcessOptions, ServerOptions},
};

/// Puts every peer of the settings that is not served here in the table. Nothing is connected before the first call.
pub(crate) fn connect(links: &Links, options: &ProcessOptions, here: &[&str]) -> Result<(), StartError> {
    for (name, address) in &options.peers {
        if here.contains(&name.as_str()) {
            continue;
        }
        links.set_remotes(
            name,
            channels(address, &options.server).map_err(|source| StartError::Part {
                what: format!("setting peers.{name}: `{address}` cannot be used"),
                source: source.into(),
            })?,
        );
    }
    Ok(())
}

/// What a peer may send ahead on one stream, in bytes: what a reader that does not read holds in this process.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What it may send ahead on a connection. So much that streams nobody reads never use it up: a connection carries the calls
/// of many.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Pings also while idle, so that a cut is noticed before the first call after it pays for it (chapter 09, O5).
fn channels(address: &str, options: &ServerOptions) -> Result<Vec<Channel>, tonic::transport::Error> {
    let (interval, timeout) = options.keepalive();
    let endpoint = Endpoint::from_shared(address.to_owned())?
        .connect_timeout(Duration::from_millis(options.peer_connect_timeout_ms))
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(timeout)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(options.max_header_bytes);
    Ok((0..options.connections()).map(|_| endpoint.connect_lazy()).collect())
}
