//! The mesh that is proven: real processes over a Postgres and a Redis of their own, every way between them through a proxy.

mod eco;
mod settings;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use coreloop_access::testing::Issuer;
use coreloop_eventing::Queue;
use coreloop_planted::Bug;
use coreloop_testkit::{FaultProxy, StandIns, TestRedis, port, roles, rpc, wait::wait_for};

use self::settings::{Place, here, served, settings_of};
use crate::{
    ask::{CALLERS, Front},
    carried::{Brokers, Ear, Over},
    market::{GOODS, Market},
    postgres::Postgres,
    run::Plan,
    service::Service,
    witness,
};

/// Replicas of the wallet, of the market, and of the witness.
const REPLICAS: usize = 2;
/// A process that starts has so long: two cores may have other work.
const PATIENCE: Duration = Duration::from_secs(60);
/// The database that each run's is a copy of.
const TEMPLATE: &str = "prove_template";
/// What the test kit is told of Kafka; the product takes it for a setting.
const JARS: &str = "CORELOOP_TEST_KAFKA";
/// The database of auth, which all runs share.
const AUTH: &str = "prove_auth";

/// Programs of a build.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    /// `coreloop`.
    pub(crate) product: PathBuf,
    /// This program, for the witness.
    pub(crate) prove: PathBuf,
}

/// What all runs stand on: Postgres, Redis, auth.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Postgres.
    pub(crate) postgres: Postgres,
    /// Redis, which keeps nothing: what it loses is to be told again.
    pub(crate) redis: TestRedis,
    /// Kafka and RabbitMQ, while there are runs over them.
    pub(crate) brokers: Option<Brokers>,
    /// The auth service.
    pub(crate) auth: Service,
    /// Who signs the tokens of people: auth publishes its keys.
    issuer: Arc<Issuer>,
    auth_port: u16,
    folder: PathBuf,
}

/// A way between two parts.
#[derive(Debug)]
pub(crate) struct Line {
    /// From and to, as `wallet-0>postgres`.
    pub(crate) name: String,
    /// The proxy on it.
    pub(crate) proxy: FaultProxy,
}

/// The mesh of one run.
#[derive(Debug)]
pub(crate) struct World<'a> {
    /// What it stands on.
    pub(crate) ground: &'a mut Ground,
    /// Replicas of the wallet and the market, and the witnesses.
    pub(crate) services: Vec<Service>,
    /// Ways.
    pub(crate) lines: Vec<Line>,
    wallets: Vec<u16>,
    /// Settings of `[eventing]` that only some runs have.
    eventing: &'static str,
    /// Its database.
    pub(crate) database: String,
    /// What carries its events and commands.
    pub(crate) over: Over,
    /// Its folder: journal, logs.
    pub(crate) folder: PathBuf,
    /// The wallet and the market, as clients reach them.
    pub(crate) front: Front,
    /// The vendor and the payment service: other people's, and never away.
    pub(crate) others: StandIns,
}

impl Ground {
    /// Starts it, with a database that is migrated.
    ///
    /// # Errors
    /// When a part does not start.
    pub(crate) async fn lay(postgres: Vec<String>, url: String, build: &Build, folder: &Path) -> Result<Self> {
        let postgres = Postgres::start(postgres, url, folder.join("postgres.log")).await?;
        let redis = TestRedis::start().await;
        postgres.execute("postgres", &format!("create database {TEMPLATE}")).await?;
        let settings = folder.join("template.toml");
        let address = postgres.address().to_owned();
        fs::write(
            &settings,
            settings_of(
                &Place { database: TEMPLATE, address: &address, bug: None, carried: "" },
                &postgres,
                &redis.url(),
                "",
            ),
        )?;
        let mut migrate = tokio::process::Command::new(&build.product);
        migrate.env_remove(JARS).arg("--config").arg(&settings).arg("migrate");
        let told = migrate.output().await?;
        if !told.status.success() {
            bail!("coreloop migrate: {}", String::from_utf8_lossy(&told.stderr));
        }
        let witness =
            format!("create schema witness; {} {}", witness::TABLES.replace("{{schema}}", "witness"), witness::EFFECTS);
        postgres.execute(TEMPLATE, &format!("{witness}; {GOODS}")).await?;
        postgres.execute("postgres", &format!("create database {AUTH} template {TEMPLATE}")).await?;
        let issuer = Arc::new(Issuer::new()?);
        postgres.execute(AUTH, &roles::publishing(&issuer)).await?;
        let auth_port = port::free();
        let settings = folder.join("auth.toml");
        let own = format!("[server.ports]\nauth = {auth_port}\n");
        fs::write(
            &settings,
            settings_of(
                &Place { database: AUTH, address: &address, bug: None, carried: "" },
                &postgres,
                &redis.url(),
                &own,
            ),
        )?;
        let mut auth = served("auth", &["auth"], build, &settings, folder, None);
        auth.start()?;
        let mut ground = Self { postgres, redis, brokers: None, auth, issuer, auth_port, folder: folder.to_owned() };
        wait_for("auth serves", PATIENCE, async || ground.auth.serves().unwrap_or(false).then_some(())).await;
        Ok(ground)
    }
}

impl<'a> World<'a> {
    /// Starts the mesh of a plan with a database of its own; with a bug, of the planted build.
    ///
    /// # Errors
    /// When a part does not start.
    pub(crate) async fn set(ground: &'a mut Ground, build: &Build, plan: &Plan) -> Result<Self> {
        let (bug, name) = (plan.bug, &plan.name);
        let mut world = Self::empty(ground, name, plan.over).await?;
        for replica in 0..REPLICAS {
            world.wallet(replica, build, bug).await?;
            if plan.mix.market() {
                world.market(replica, build, bug).await?;
            }
            world.witness(replica, build, bug).await?;
        }
        for service in &mut world.services {
            service.start()?;
        }
        world.wait_until_all_serve().await;
        if let Some(brokers) = world.brokers()
            && plan.mix.market()
        {
            brokers.settled(&world.prefix(), &[Queue::REWARDS_ISSUE]).await;
        }
        Ok(world)
    }

    /// One without a process, with a database of its own.
    async fn empty(ground: &'a mut Ground, name: &str, over: Over) -> Result<Self> {
        Brokers::see_to(&mut ground.brokers, over).await;
        let folder = ground.folder.join(name);
        fs::create_dir_all(&folder)?;
        ground.redis.flush().await;
        let database = format!("prove_{}", name.replace('-', "_"));
        ground.postgres.execute("postgres", &format!("create database {database} template {TEMPLATE}")).await?;
        let auth = rpc::channel(&format!("http://127.0.0.1:{}", ground.auth_port));
        let mut bearers = Vec::new();
        for caller in CALLERS {
            bearers.push((caller, format!("Bearer {}", roles::mint(&auth, caller, "wallet", roles::unix_now()).await)));
        }
        let others = StandIns::start().await;
        let (payments, issuer) = (others.rest(), Arc::clone(&ground.issuer));
        let market = Market { shops: Vec::new(), rewards: Vec::new(), payments, issuer };
        let front = Front { replicas: Vec::new(), bearers, market, calm: Arc::default() };
        let (services, lines, wallets) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { ground, services, lines, wallets, eventing: "", database, over, folder, front, others })
    }

    /// The brokers, where they carry this run.
    fn brokers(&self) -> Option<&Brokers> {
        self.ground.brokers.as_ref().filter(|_| self.over == Over::Brokers)
    }

    /// Before the name of all that this run has at the brokers.
    fn prefix(&self) -> String {
        format!("{}.", self.database)
    }

    /// How far its witness has heard.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub(crate) fn ear(&self) -> Result<Ear<'_>> {
        Ok(match self.brokers() {
            Some(brokers) => Ear::of_kafka(&brokers.kafka, &self.prefix())?,
            None => Ear::of_redis(&self.ground.redis),
        })
    }

    async fn line(&mut self, name: String, target: &str) -> String {
        let proxy = FaultProxy::before(target).await;
        let address = proxy.address().to_owned();
        self.lines.push(Line { name, proxy });
        address
    }

    async fn wallet(&mut self, replica: usize, build: &Build, bug: Option<Bug>) -> Result<()> {
        let (name, port) = (format!("wallet-{replica}"), port::free());
        self.wallets.push(port);
        let auth = self.line(format!("{name}>auth"), &here(self.ground.auth_port)).await;
        let own = format!("[server.ports]\nwallet = {port}\n[peers]\nauth = \"http://{auth}\"\n");
        self.product(&name, &["wallet"], build, bug, &own).await?;
        let front = self.line(format!("client>{name}"), &here(port)).await;
        self.front.replicas.push(rpc::channel(&format!("http://{front}")));
        Ok(())
    }

    /// The shop and rewards, with an edge that takes the payment service's webhooks. They call the wallet of their number.
    async fn market(&mut self, replica: usize, build: &Build, bug: Option<Bug>) -> Result<()> {
        let name = format!("market-{replica}");
        let (shop, rewards, edge) = (port::free(), port::free(), port::free());
        let auth = self.line(format!("{name}>auth"), &here(self.ground.auth_port)).await;
        let wallet = self.line(format!("{name}>wallet"), &here(self.wallets[replica])).await;
        let webhooks = self.line(format!("payment>{name}"), &here(edge)).await;
        // One gives GOLD when it is paid for, the other at once.
        let own = format!(
            "[server.ports]\nshop = {shop}\nrewards = {rewards}\ngateway = {edge}\n[peers]\nauth = \"http://{auth}\"\n\
             wallet = \"http://{wallet}\"\n[rewards]\nrecover_after_secs = 11\nrecover_every_ms = 300\nresend_after_secs = 2\n\
             give_up_secs = 20\n{}[shop]\nlease_secs = 4\nsettle_first = {}\n[shop.payment]\npoll_secs = 1\n\
             poll_most_secs = 2\ncallback_url = \"http://{webhooks}/api/shop/webhook\"\n{}",
            self.others.vendor_settings(),
            replica == 0,
            self.others.payment_settings(),
        );
        self.product(&name, &["shop", "rewards", "edge"], build, bug, &own).await?;
        for (to, port) in [("shop", shop), ("rewards", rewards)] {
            let front = self.line(format!("client>{to}-{replica}"), &here(port)).await;
            let channel = rpc::channel(&format!("http://{front}"));
            if to == "shop" { &mut self.front.market.shops } else { &mut self.front.market.rewards }.push(channel);
        }
        Ok(())
    }

    /// A process of the product, with ways of its own to Postgres and Redis.
    async fn product(
        &mut self,
        name: &str,
        modules: &[&str],
        build: &Build,
        bug: Option<Bug>,
        own: &str,
    ) -> Result<()> {
        let postgres = self.ground.postgres.address().to_owned();
        let postgres = self.line(format!("{name}>postgres"), &postgres).await;
        let redis = self.ground.redis.address();
        let redis = self.line(format!("{name}>redis"), &redis).await;
        let settings = self.folder.join(format!("{name}.toml"));
        let redis = format!("redis://{redis}");
        let mut carried = self.eventing.to_owned();
        if let Some(rabbit) = self.brokers().map(|brokers| brokers.rabbit.address()) {
            let rabbit = self.line(format!("{name}>rabbitmq"), &rabbit).await;
            carried.extend(self.brokers().map(|brokers| brokers.settings(&self.prefix(), &rabbit)));
        }
        let place = Place { database: &self.database, address: &postgres, bug, carried: &carried };
        fs::write(&settings, settings_of(&place, &self.ground.postgres, &redis, own))?;
        self.services.push(served(name, modules, build, &settings, &self.folder, bug));
        Ok(())
    }

    async fn witness(&mut self, replica: usize, build: &Build, bug: Option<Bug>) -> Result<()> {
        let name = format!("witness-{replica}");
        let postgres = self.ground.postgres.address().to_owned();
        let postgres = self.line(format!("{name}>postgres"), &postgres).await;
        let redis = self.ground.redis.address();
        let redis = self.line(format!("{name}>redis"), &redis).await;
        let ready = self.folder.join(format!("{name}.ready")).display().to_string();
        let database = self.ground.postgres.url_of(&postgres, &self.database);
        let mut arguments = vec!["witness".to_owned(), "--database".to_owned(), database];
        arguments.extend(["--redis".to_owned(), format!("redis://{redis}"), "--ready-file".to_owned(), ready]);
        if let Some(brokers) = self.brokers() {
            arguments.extend(["--kafka".to_owned(), brokers.kafka.servers(), "--prefix".to_owned(), self.prefix()]);
        }
        arguments.extend(bug.into_iter().flat_map(|bug| ["--planted".to_owned(), bug.to_string()]));
        self.services.push(Service::new(&name, &build.prove.display().to_string(), arguments, &self.folder));
        Ok(())
    }

    /// A service by its name; auth too.
    pub(crate) fn service(&mut self, name: &str) -> Result<&mut Service> {
        if name == "auth" {
            return Ok(&mut self.ground.auth);
        }
        self.services.iter_mut().find(|service| service.name == name).with_context(|| format!("no service {name}"))
    }

    /// A way by its name.
    pub(crate) fn way(&self, name: &str) -> Result<&FaultProxy> {
        let line = self.lines.iter().find(|line| line.name == name).with_context(|| format!("no way {name}"))?;
        Ok(&line.proxy)
    }

    /// Waits until every process serves; those that ended by themselves are started again.
    pub(crate) async fn wait_until_all_serve(&mut self) {
        let services = &mut self.services;
        let auth = &mut self.ground.auth;
        wait_for("every process serves", PATIENCE, async || {
            let mut all = auth.serves().ok()?;
            for service in services.iter_mut() {
                all &= service.serves().ok()?;
            }
            all.then_some(())
        })
        .await;
    }

    /// Mends all that was broken.
    ///
    /// # Errors
    /// When a process does not come back.
    pub(crate) async fn heal(&mut self) -> Result<()> {
        for line in &self.lines {
            line.proxy.heal();
        }
        for service in &mut self.services {
            service.thaw();
            service.revive()?;
        }
        self.ground.auth.thaw();
        self.ground.auth.revive()?;
        self.wait_until_all_serve().await;
        Ok(())
    }
}
