//! The eco app as it is run: twice whoever looks at photos and counts what comes of it, twice whoever tells people.

use std::sync::Arc;

use anyhow::Result;
use coreloop_access::testing::Issuer;
use coreloop_eventing::Queue;
use coreloop_planted::Bug;
use coreloop_testkit::port;

use super::{Build, Ground, REPLICAS, World, here};
use crate::{carried::Over, story::MOST_OWNED};

/// Modules of a process that looks and counts. Each has a port of its own.
const APP: [&str; 5] = ["image", "scan", "character", "my", "notification"];
/// What fails is tried again for half a minute: nothing is away for longer.
const RETRIES: &str = "retry_delays_secs = [1, 1, 2, 4, 8, 16]\n";

impl<'a> World<'a> {
    /// Starts the eco app with a database of its own; with a bug, of the planted build.
    ///
    /// # Errors
    /// When a part does not start.
    pub(crate) async fn eco(
        ground: &'a mut Ground,
        build: &Build,
        (name, over, bug): (&str, Over, Option<Bug>),
    ) -> Result<(Self, Vec<String>)> {
        let mut world = Self::empty(ground, name, over).await?;
        world.eventing = RETRIES;
        let mut fronts = Vec::new();
        for replica in 0..REPLICAS {
            let ports = world.app(replica, build, bug).await?;
            fronts.push(world.live(replica, &ports, build, bug).await?);
        }
        for service in &mut world.services {
            service.start()?;
        }
        world.wait_until_all_serve().await;
        if let Some(brokers) = world.brokers() {
            brokers.settled(&world.prefix(), &[Queue::SCAN_CLASSIFY]).await;
        }
        Ok((world, fronts))
    }

    /// Who signs the tokens of people.
    pub(crate) fn issuer(&self) -> Arc<Issuer> {
        Arc::clone(&self.ground.issuer)
    }

    /// Those who look and count, in one process; their ports.
    async fn app(&mut self, replica: usize, build: &Build, bug: Option<Bug>) -> Result<[u16; APP.len()]> {
        let name = format!("app-{replica}");
        let ports = APP.map(|_| port::free());
        let auth = self.line(format!("{name}>auth"), &here(self.ground.auth_port)).await;
        let served: String = APP.iter().zip(ports).map(|(module, port)| format!("{module} = {port}\n")).collect();
        let own = format!(
            "[server.ports]\n{served}[peers]\nauth = \"http://{auth}\"\n[image]\n{}[scan]\nsweep_secs = 2\n{}[character]\n\
             max_owned = {MOST_OWNED}\n",
            self.others.storage_settings(),
            self.others.model_settings(),
        );
        self.product(&name, &APP, build, bug, &own).await?;
        Ok(ports)
    }

    /// Realtime with an edge in front, which reaches the app of its number; where people call it.
    async fn live(
        &mut self,
        replica: usize,
        app: &[u16; APP.len()],
        build: &Build,
        bug: Option<Bug>,
    ) -> Result<String> {
        let name = format!("live-{replica}");
        let (realtime, edge) = (port::free(), port::free());
        let auth = self.line(format!("{name}>auth"), &here(self.ground.auth_port)).await;
        let mut peers = format!("auth = \"http://{auth}\"\n");
        for (module, port) in APP.iter().zip(app) {
            let way = self.line(format!("{name}>{module}"), &here(*port)).await;
            peers.push_str(&format!("{module} = \"http://{way}\"\n"));
        }
        // Who comes back often has sockets that nobody has seen end.
        let own = format!(
            "[server.ports]\nrealtime = {realtime}\ngateway = {edge}\n[peers]\n{peers}[realtime]\nsockets_per_user = 1000\n"
        );
        self.product(&name, &["realtime", "edge"], build, bug, &own).await?;
        let front = self.line(format!("client>{name}"), &here(edge)).await;
        Ok(format!("http://{front}"))
    }
}
