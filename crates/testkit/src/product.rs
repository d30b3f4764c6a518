//! The product's own binary in the place of some of a mesh's processes: what is killed is gone at once, with all that it had begun.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{
    TestMesh,
    child::Child,
    mesh::{MASTER_KEY, MESH_SECRET},
    surroundings,
    wait::{PATIENCE, wait_for},
};

/// A process of the product. Gone when dropped.
#[derive(Debug)]
pub struct Product {
    folder: TempDir,
    modules: Vec<&'static str>,
    process: Option<Child>,
}

impl Product {
    /// Ends the first replica of `modules`, each a process of its own ([`crate::mesh::Builder::split`]), and serves them from one
    /// process at their ports, on the database and the Redis of the mesh. Its settings are those that are shipped, but for `own`
    /// (TOML) and for what the database may take on a busy machine.
    ///
    /// # Panics
    /// When it does not start; the panic carries its log.
    pub async fn instead(mesh: &mut TestMesh, modules: &[&'static str], own: &str) -> Self {
        let (mut ports, mut peers) = (String::new(), String::new());
        for module in mesh.modules().iter().filter(|module| **module != "edge") {
            let address = mesh.address_on(0, module);
            if modules.contains(module) {
                let port = address.rsplit(':').next().expect("a port");
                ports.push_str(&format!("{module} = {port}\n"));
            } else {
                peers.push_str(&format!("{module} = \"{address}\"\n"));
            }
        }
        let database: url::Url = mesh.db.url().parse().expect("an address");
        let settings = format!(
            "mode = \"local\"\n[database]\nurl = \"{url}\"\nadmin_url = \"{url}\"\npassword = \"{password}\"\n\
             max_connections = 48\nacquire_timeout_ms = 20000\nlock_timeout_ms = 20000\nstatement_timeout_ms = 60000\n\
             idle_in_transaction_timeout_ms = 25000\n[redis]\nurl = \"{redis}\"\n[auth]\nmaster_key = \"{MASTER_KEY}\"\n\
             mesh_secret = \"{MESH_SECRET}\"\n[limit]\nenabled = false\n[server.ports]\n{ports}[peers]\n{peers}{own}",
            url = mesh.db.url(),
            password = database.password().unwrap_or_default(),
            redis = mesh.redis.url(),
        );
        let folder = TempDir::new().expect("temporary folder");
        std::fs::write(folder.path().join("settings.toml"), settings).expect("settings are written");
        for module in modules {
            mesh.node_mut(0, module).kill().await;
        }
        let mut product = Self { folder, modules: modules.to_vec(), process: None };
        product.start().await;
        product
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; the panic carries its log.
    pub async fn start(&mut self) {
        let ready = self.path("ready");
        let _none_yet = std::fs::remove_file(&ready);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("log file");
        let shown = |path: &Path| path.display().to_string();
        // What the test run is given by the environment is no setting of the product; `env` becomes the product itself.
        let mut arguments = vec!["-i".to_owned(), surroundings::product(), "--config".to_owned()];
        arguments.extend([shown(&self.path("settings.toml")), "serve".to_owned()]);
        arguments.extend(self.modules.iter().map(|module| (*module).to_owned()));
        arguments.extend(["--ready-file".to_owned(), shown(&ready)]);
        let mut process = Child::start("env", &arguments, log);
        wait_for("the product is ready", PATIENCE * 2, async || {
            assert!(process.runs(), "the product ended: {}", self.said());
            ready.exists().then_some(())
        })
        .await;
        self.process = Some(process);
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// What it wrote.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
