//! Connections that stop speaking HTTP (RFC 9110, 7.8): handed on as they were accepted.
//!
//! What hyper leaves around a stream would stay with it for as long as it is open: its own wrapper, ours of the first bytes
//! ([`Opening`]), and the block of eight kilobytes that the request was read into.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use coreloop_service::upgrade::{Upgrade, Upgraded};
use http::Extensions;
use hyper::upgrade::OnUpgrade;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::net::TcpStream;

use crate::opening::Opening;

/// Makes what hyper offers with a request that asks for another protocol into what the edge takes.
pub(crate) fn offer(extensions: &mut Extensions) {
    let Some(offered) = extensions.remove::<OnUpgrade>() else { return };
    let offered = Mutex::new(Some(offered));
    extensions.insert(Upgrade::new(move || {
        let offered = offered.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            let offered = offered.ok_or_else(|| io::Error::other("the connection was taken already"))?;
            bare(offered.await.map_err(io::Error::other)?)
        }
    }));
}

fn bare(upgraded: hyper::upgrade::Upgraded) -> io::Result<Upgraded> {
    let parts = downcast::<TokioIo<Opening<TcpStream>>>(upgraded)
        .map_err(|_| io::Error::other("a connection that no listener of ours accepted"))?;
    let early = Bytes::copy_from_slice(&parts.read_buf);
    Ok(Upgraded { stream: Box::new(parts.io.into_inner().into_inner()), early })
}
