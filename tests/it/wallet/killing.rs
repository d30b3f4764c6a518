//! The process of the wallet is killed in the midst of postings (M2): the product's own binary, SIGKILL. What was answered is
//! there once; what was not is told by its key.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use coreloop_testkit::{
    TestMesh,
    child::Child,
    deep,
    mesh::{MASTER_KEY, MESH_SECRET},
    port, rpc, run, seed, surroundings,
    wait::wait_for,
};
use coreloop_wallet_api::v1::{Posting, SpendRequest};
use futures::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tonic::Code;

use super::stage::{Shop, balance, is_unknown, somebody, spend};

const PATIENCE: Duration = Duration::from_secs(120);

/// A wallet in a process of its own, on the database and the Redis of `mesh`.
struct Wallet {
    folder: tempfile::TempDir,
    port: u16,
}

impl Wallet {
    fn of(mesh: &TestMesh) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), port::free());
        let database: url::Url = mesh.db.url().parse().unwrap();
        let settings = format!(
            "mode = \"local\"\n[database]\nurl = \"{url}\"\nadmin_url = \"{url}\"\npassword = \"{password}\"\n\
             [redis]\nurl = \"{redis}\"\n[auth]\nmaster_key = \"{MASTER_KEY}\"\nmesh_secret = \"{MESH_SECRET}\"\n\
             [limit]\nenabled = false\n[server.ports]\nwallet = {port}\n[peers]\nauth = \"{auth}\"\n",
            url = mesh.db.url(),
            password = database.password().unwrap_or_default(),
            redis = mesh.redis.url(),
            auth = mesh.address_on(0, "auth"),
        );
        std::fs::write(folder.path().join("wallet.toml"), settings).unwrap();
        Self { folder, port }
    }

    fn start(&self) -> Child {
        let in_folder = |name: &str| Path::new(self.folder.path()).join(name).display().to_string();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(in_folder("wallet.log")).unwrap();
        // What the test run is given by the environment is no setting of the product; `env` becomes the product itself.
        let product = surroundings::product();
        let arguments = ["-i", &product, "--config", &in_folder("wallet.toml"), "serve", "wallet"].map(str::to_owned);
        Child::start("env", &arguments, log)
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("wallet.log")).unwrap_or_default()
    }
}

/// Asks until there is an answer; the same key each time.
async fn until_known(shop: &Shop, asked: &SpendRequest, unknown: &AtomicUsize, wallet: &Wallet) -> Posting {
    wait_for("an answer", PATIENCE, async || match shop.spend_as(0, asked).await {
        Ok(posting) => Some(posting),
        Err(status) => {
            // A connection that breaks has no reason of ours; a wallet that has just come back may not know yet what is revoked.
            let reason = rpc::reason(&status);
            let away = reason.is_empty() || is_unknown(&reason);
            assert!(away || status.code() == Code::Unavailable, "{status:?}\n{}", wallet.said());
            unknown.fetch_add(1, Ordering::SeqCst);
            None
        }
    })
    .await
}

#[test]
fn nothing_is_lost_or_doubled_when_the_process_is_killed() {
    run(async {
        let mesh = TestMesh::builder().split().start().await;
        let wallet = Wallet::of(&mesh);
        let mut process = wallet.start();
        let shop = Shop::of(&mesh).await;
        let alice = somebody();
        let (spends, kills) = if deep() { (4_000, 60) } else { (400, 6) };
        shop.grant(&alice, spends * 3).await.unwrap();
        let shop = shop.towards(vec![rpc::channel(&format!("http://127.0.0.1:{}", wallet.port))]);
        let requests: Vec<SpendRequest> = (0..spends).map(|_| spend(&alice, 3)).collect();
        let (done, unknown) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let spending = stream::iter(&requests)
            .map(|asked| {
                let (shop, unknown, done, wallet) = (&shop, &unknown, &done, &wallet);
                async move {
                    let posting = until_known(shop, asked, unknown, wallet).await;
                    done.fetch_add(1, Ordering::SeqCst);
                    (asked, posting)
                }
            })
            .buffer_unordered(24)
            .collect::<Vec<_>>();
        let killing = async {
            let mut random = StdRng::seed_from_u64(seed("kills"));
            for kill in 1..=kills {
                let mark = usize::try_from(spends).unwrap() * kill / (kills + 1) + random.random_range(0..9);
                wait_for("some are done", PATIENCE, async || (done.load(Ordering::SeqCst) >= mark).then_some(())).await;
                process.kill();
                process = wallet.start();
            }
            process
        };
        let (answers, _process) = tokio::join!(spending, killing);
        assert!(unknown.load(Ordering::SeqCst) >= kills, "the kills were felt");
        assert_eq!(balance(&mesh, &alice).await, 0, "each once");
        for (asked, posting) in answers {
            assert_eq!(shop.spend_as(0, asked).await.unwrap(), posting, "and the same answer for ever");
        }
        let made = format!("select count(*) from wallet.entries where owner = '{alice}'");
        assert_eq!(mesh.db.count(&made).await, spends + 1);
        println!("{kills} kills, 0 lost, 0 doubled, {} answers asked for again", unknown.load(Ordering::SeqCst));
    });
}
