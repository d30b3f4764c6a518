//! The listeners of a process.

use std::{collections::BTreeMap, net::SocketAddr};

use coreloop_service::Module;
use tokio::net::TcpListener;

use crate::{StartError, assembly::EDGE, listen, options::ProcessOptions};

/// Listeners, bound before anything else is tried: a taken port is the most common trouble.
pub(crate) struct Ports {
    pub(crate) grpc: BTreeMap<&'static str, (TcpListener, SocketAddr)>,
    pub(crate) gateway: Option<(TcpListener, SocketAddr)>,
    pub(crate) admin: (TcpListener, SocketAddr),
}

impl Ports {
    pub(crate) fn bind(modules: &[Box<dyn Module>], options: &ProcessOptions) -> Result<Self, StartError> {
        let server = &options.server;
        let port = |name: &str| {
            let port = server.ports.get(name).copied().unwrap_or(0);
            listen::bind(&server.host, port, &format!("server.ports.{name}"))
        };
        let mut grpc = BTreeMap::new();
        for module in modules {
            grpc.insert(module.name(), port(module.name())?);
        }
        let gateway = grpc.contains_key(EDGE).then(|| port("gateway")).transpose()?;
        let admin = listen::bind(&server.host, server.admin_port, "server.admin_port")?;
        Ok(Self { grpc, gateway, admin })
    }
}
