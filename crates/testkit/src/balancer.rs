//! A balancer of connections, as a service address of Kubernetes is one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Gives each connection to the next of some ports that takes it. A connection stays where it is; one whose peer goes away
/// is closed.
#[derive(Debug)]
pub struct Balancer {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Balancer {
    /// Starts one before `ports` of this machine.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn before(ports: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("address").port();
        let (ports, turn): (Arc<[u16]>, _) = (ports.into(), Arc::new(AtomicUsize::new(0)));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, Arc::clone(&ports), turn.fetch_add(1, Ordering::Relaxed)));
            }
        });
        Self { port, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connection(mut client: TcpStream, ports: Arc<[u16]>, turn: usize) {
    for offset in 0..ports.len() {
        let port = ports[(turn + offset) % ports.len()];
        if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
