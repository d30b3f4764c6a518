//! A TCP proxy that misbehaves on command: cuts, freezes, delays, babbles.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What the proxy does to its connections, at once and until told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Forwards.
    #[default]
    None,
    /// Accepts and keeps connections, forwards nothing (a frozen peer, a silent network cut). What was held goes on later.
    Pause,
    /// Drops every connection and refuses new ones at once (a dead peer).
    Cut,
    /// Delays every piece by this long.
    Delay(Duration),
    /// Answers bytes that are no protocol's instead of the peer's.
    Garbage,
}

/// A proxy before one peer.
#[derive(Debug)]
pub struct FaultProxy {
    address: String,
    fault: watch::Sender<Fault>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts one before `target` (`host:port`).
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn before(target: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("address").to_string();
        let (fault, seen) = watch::channel(Fault::None);
        let target: Arc<str> = target.into().into();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, seen) = (Arc::clone(&target), seen.clone());
                tokio::spawn(async move { connection(client, &target, seen).await });
            }
        });
        Self { address, fault, accepting }
    }

    /// Where it listens (`host:port`).
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it listens, as a port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// Misbehaves so from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Behaves again.
    pub fn heal(&self) {
        self.set(Fault::None);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.fault.send_replace(Fault::Cut);
    }
}

async fn connection(mut client: TcpStream, target: &str, mut fault: watch::Receiver<Fault>) {
    if *fault.borrow() == Fault::Cut {
        return;
    }
    if *fault.borrow() == Fault::Garbage {
        return babble(&mut client).await;
    }
    let mut cut = fault.clone();
    let work = async {
        // A frozen peer's kernel still accepts; ours does too, and speaks to the peer only once it is thawed.
        let _ = fault.wait_for(|fault| *fault != Fault::Pause).await;
        let Ok(server) = TcpStream::connect(target).await else { return };
        let (client_in, client_out) = client.split();
        let (server_in, server_out) = server.into_split();
        let up = pump(client_in, server_out, fault.clone(), false);
        let down = pump(server_in, client_out, fault.clone(), true);
        tokio::join!(up, down);
    };
    tokio::select! {
        () = work => {}
        _ = cut.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

async fn pump(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    mut fault: watch::Receiver<Fault>,
    towards_client: bool,
) {
    let mut piece = vec![0_u8; 16 * 1024];
    while let Ok(read) = from.read(&mut piece).await {
        if read == 0 || fault.wait_for(|fault| *fault != Fault::Pause).await.is_err() {
            break;
        }
        let now = *fault.borrow();
        if let Fault::Delay(by) = now {
            // Once it behaves again nothing is held up any more.
            let _ = tokio::time::timeout(by, fault.wait_for(|fault| *fault != now)).await;
        }
        if now == Fault::Garbage && towards_client {
            piece[..read].iter_mut().for_each(|byte| *byte ^= 0xa5);
        }
        if to.write_all(&piece[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn babble(client: &mut TcpStream) {
    let mut heard = [0_u8; 1024];
    while let Ok(read) = client.read(&mut heard).await {
        if read == 0 || client.write_all(&[0xde, 0xad, 0xbe, 0xef, 0x00, 0xff].repeat(64)).await.is_err() {
            break;
        }
    }
}
