//! P8 to P11, P13, P19: a purchase (a Spend, through gRPC) beside the same in raw SQL by pgbench, on one Postgres with fsync on.
//!
//! The raw forms do the least that is a purchase at all: a key that is taken once, a balance that is not below zero, a line.
//! They write no event, no chain and no other side of the entry. pgbench is given the number of clients that suits it best.

mod quiet;
mod shop;
mod size;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use coreloop_testkit::TestMesh;
use coreloop_wallet_api::v1::{
    Account, BatchPosting, Currency, GetBalanceRequest, House, Movement, PostBatchRequest, SpendRequest, account::Owner,
};
use prost::Message as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{
    child::Part,
    load,
    report::{Row, median, spread},
};

const SPEND: &str = "/coreloop.wallet.v1.WalletInternalService/Spend";
const BATCH: &str = "/coreloop.wallet.v1.WalletInternalService/PostBatch";
const BALANCE: &str = "/coreloop.wallet.v1.WalletService/GetBalance";

/// Wallets that purchases are spread over.
const PEOPLE: u64 = 20_000;
/// Wallets of the hot row.
const HOT: u64 = 10;
/// People who are signed in.
const BUYERS: usize = 64;
/// Of them, who look at what they have.
const READERS: usize = 16;
/// Purchases of one turn.
const CALLS: u64 = 20_000;
const IN_FLIGHT: usize = 512;
/// Clients of pgbench: more make it slower.
const CLIENTS: u32 = 64;
/// Seconds of one turn of pgbench.
const SECONDS: u32 = 5;
/// Purchases a second of the quiet row.
const QUIET: u32 = 200;

const SCHEMA: &str = "
    create schema raw;
    create table raw.accounts (id int primary key, balance bigint not null check (balance >= 0));
    create table raw.keys (key uuid primary key);
    create table raw.entries (account int not null, id bigint generated always as identity, delta bigint not null,
                              balance_after bigint not null, created_at timestamptz not null, primary key (account, id));
    insert into raw.accounts select id, 1000000000 from generate_series(1, 20000) id;
    analyze raw.accounts";

fn six(people: u64) -> String {
    format!(
        "\\set id random(1, {people})\nbegin;\ninsert into raw.keys values (gen_random_uuid());\n\
         select balance from raw.accounts where id = :id for update;\n\
         update raw.accounts set balance = balance - 1 where id = :id;\n\
         insert into raw.entries (account, delta, balance_after, created_at) values (:id, -1, 0, now());\ncommit;\n"
    )
}

fn one(people: u64) -> String {
    format!(
        "\\set id random(1, {people})\nwith k as (insert into raw.keys values (gen_random_uuid()) returning key),\n\
         a as (update raw.accounts set balance = balance - 1 from k where id = :id returning id, balance)\n\
         insert into raw.entries (account, delta, balance_after, created_at) select id, -1, balance, now() from a;\n"
    )
}

/// Where a started mesh is, as its process prints it in one line.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Where {
    wallet: String,
    shop: String,
    machine: String,
    /// Ids and tokens.
    people: Vec<(String, String)>,
    database: String,
}

/// Starts a mesh and tells where it is. It lives as long as what is returned.
///
/// # Errors
/// Never; what does not start panics.
pub(crate) async fn start() -> Result<(TestMesh, String)> {
    let mesh = TestMesh::builder()
        .setting("limit.enabled", false)
        // The daily looks at everything would begin a minute after the first start.
        .setting("ops.integrity_secs", 0_i64)
        .setting("shop.verify_secs", 0_i64)
        .setting("auth.internal_ttl_secs", 3_600_i64)
        .setting("server.max_waiting", 4_096_i64)
        .start()
        .await;
    let mut people = Vec::new();
    for number in 0..BUYERS {
        let person = mesh.persona(&format!("bench{number}")).await;
        people.push((person.user_id, person.access_token));
    }
    let at = Where {
        wallet: mesh.address_on(0, "wallet"),
        shop: mesh.address_on(0, "shop"),
        machine: mesh.machine_token("bench", "wallet").await,
        people,
        database: mesh.db.url(),
    };
    let line = serde_json::to_string(&at)?;
    Ok((mesh, line))
}

struct Place {
    at: Where,
    channels: Vec<Channel>,
    shops: Vec<Channel>,
    folder: PathBuf,
    postgres: u32,
    part: Part,
}

/// What one round saw: purchases a second of ours and of the raw forms, CPU of Postgres for each, reads a second.
#[derive(Debug, Default)]
struct Turn {
    ours: f64,
    six: f64,
    one: f64,
    ours_hot: f64,
    one_hot: f64,
    ours_cpu: f64,
    six_cpu: f64,
    reads: f64,
    selects: f64,
}

/// The rows that are `wanted`.
///
/// # Errors
/// When a purchase fails or pgbench is not there.
pub(crate) async fn rows(rounds: usize, wanted: &impl Fn(&str) -> bool) -> Result<Vec<Row>> {
    let place = Place::take().await?;
    let mut turns = Vec::new();
    for round in 0..=rounds {
        let turn = place.turn(round, wanted).await?;
        if round > 0 {
            turns.push(turn);
        }
    }
    let mut rows = table(&turns);
    if wanted("P11") {
        rows.extend(place.tails().await?);
    }
    if wanted("P8") || wanted("P9") {
        rows.extend(place.purchases(rounds).await?);
    }
    if wanted("P19") {
        rows.push(place.larger(rounds).await?);
    }
    rows.retain(|row| wanted(row.id));
    Ok(rows)
}

fn table(turns: &[Turn]) -> Vec<Row> {
    let each = |of: fn(&Turn) -> f64| median(&turns.iter().map(of).collect::<Vec<_>>());
    let row = |id, what: &str, ratio: fn(&Turn) -> f64, aim, met: fn(f64) -> bool| {
        let ratios: Vec<f64> = turns.iter().map(ratio).collect();
        let (ratio, spread) = (median(&ratios), spread(&ratios));
        Row { id, what: what.to_owned(), measured: format!("{ratio:.2}"), aim, met: met(ratio), detail: spread }
    };
    let mut rows = vec![
        row("P8", "Spend through gRPC, of pgbench's six trips", |it| it.ours / it.six, "≥ 3", |it| it >= 3.0),
        row("P8", "Spend through gRPC, of pgbench's one statement", |it| it.ours / it.one, "≥ 2", |it| it >= 2.0),
        row(
            "P9",
            "Spend of 10 hot wallets, of the one statement",
            |it| it.ours_hot / it.one_hot,
            "≥ 8",
            |it| it >= 8.0,
        ),
        row(
            "P10",
            "CPU of Postgres a Spend, of the six trips",
            |it| it.ours_cpu / it.six_cpu,
            "≤ 0.12",
            |it| it <= 0.12,
        ),
        row("P13", "GetBalance through gRPC, of select by key", |it| it.reads / it.selects, "≥ 2", |it| it >= 2.0),
    ];
    let (ours, cpu) = (each(|it| it.ours), each(|it| it.ours_cpu));
    let details = [
        format!("{ours:.0}/s at {IN_FLIGHT} in flight beside {:.0}/s of {CLIENTS} clients", each(|it| it.six)),
        format!("{ours:.0}/s beside {:.0}/s", each(|it| it.one)),
        format!("{:.0}/s beside {:.0}/s", each(|it| it.ours_hot), each(|it| it.one_hot)),
        format!("{cpu:.0} µs beside {:.0} µs, with outbox, chain and both sides of the entry", each(|it| it.six_cpu)),
        format!("{:.0}/s beside {:.0}/s, checks of tokens included", each(|it| it.reads), each(|it| it.selects)),
    ];
    for (row, detail) in rows.iter_mut().zip(details) {
        row.detail = format!("{detail}; {}", row.detail);
    }
    rows
}

impl Place {
    async fn take() -> Result<Self> {
        let part = Part::start("money", &[])?;
        let at: Where = serde_json::from_str(&part.address)?;
        let mut connection = PgConnection::connect(&at.database).await?;
        connection.execute(sqlx::raw_sql(SCHEMA)).await?;
        let (backend,): (i32,) = sqlx::query_as("select pg_backend_pid()").fetch_one(&mut connection).await?;
        let postgres = field(u32::try_from(backend)?, 4)?;
        let channels = load::connect(&at.wallet, 4).await?;
        let shops = load::connect(&at.shop, 4).await?;
        let folder = std::env::temp_dir().join(format!("coreloop-money-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let place = Self { at, channels, shops, folder, postgres: u32::try_from(postgres)?, part };
        let seen = load::grpc(&place.channels, BATCH, 4, PEOPLE / 500, Some(&place.at.machine), seed).await;
        anyhow::ensure!(seen.errors == 0, "{} of the batches that seed failed", seen.errors);
        place.give().await?;
        for statement in ["vacuum analyze", "checkpoint"] {
            connection.execute(sqlx::raw_sql(statement)).await?;
        }
        connection.close().await?;
        Ok(place)
    }

    /// One round; what no row wants is left out.
    async fn turn(&self, round: usize, wanted: &impl Fn(&str) -> bool) -> Result<Turn> {
        let select = format!("\\set id random(1, {PEOPLE})\nselect balance from raw.accounts where id = :id;\n");
        let (six, six_cpu) = self.raw(&six(PEOPLE))?;
        let (ours, ours_cpu) = self.ours("spend", round, PEOPLE).await?;
        let mut turn = Turn { ours, six, ours_cpu, six_cpu, ..Turn::default() };
        if wanted("P8") {
            turn.one = self.raw(&one(PEOPLE))?.0;
        }
        if wanted("P9") {
            turn.one_hot = self.raw(&one(HOT))?.0;
            turn.ours_hot = self.ours("spend", round, HOT).await?.0;
        }
        if wanted("P13") {
            turn.reads = self.read().await?;
            turn.selects = self.raw(&select)?.0;
        }
        Ok(turn)
    }

    /// Purchases a second, and CPU of Postgres for each in microseconds.
    async fn ours(&self, name: &'static str, round: usize, people: u64) -> Result<(f64, f64)> {
        let (cpu, begun) = (self.cpu()?, Instant::now());
        let machine = Some(self.at.machine.as_str());
        let seen = load::grpc(&self.channels, SPEND, IN_FLIGHT, CALLS, machine, move |call| {
            spend(call.wrapping_mul(7_919) % people, format!("{name}-{people}-{round}-{call}"))
        })
        .await;
        anyhow::ensure!(seen.errors == 0, "{} of {CALLS} purchases failed", seen.errors);
        Ok((CALLS as f64 / begun.elapsed().as_secs_f64(), (self.cpu()? - cpu) * 1e6 / CALLS as f64))
    }

    async fn read(&self) -> Result<f64> {
        const READS: u64 = 2_000;
        let request =
            Bytes::from(GetBalanceRequest { currency: Some(Currency::Gold.into()), at: None }.encode_to_vec());
        let begun = Instant::now();
        let readers = self.at.people.iter().take(READERS).map(|(_, token)| {
            let request = request.clone();
            load::grpc(&self.channels, BALANCE, 16, READS, Some(token), move |_| request.clone())
        });
        let seen = futures::future::join_all(readers).await;
        anyhow::ensure!(seen.iter().all(|seen| seen.errors == 0), "reads failed");
        Ok((READS * READERS as u64) as f64 / begun.elapsed().as_secs_f64())
    }

    /// Transactions a second of a script, and CPU of Postgres for each in microseconds.
    fn raw(&self, script: &str) -> Result<(f64, f64)> {
        let (cpu, begun) = (self.cpu()?, Instant::now());
        let said = self.pgbench(script, &["-c", &CLIENTS.to_string(), "-T", &SECONDS.to_string()])?;
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
        let rate = rate.with_context(|| format!("pgbench says no rate: {said}"))?;
        let done = rate * begun.elapsed().as_secs_f64().min(f64::from(SECONDS));
        Ok((rate, (self.cpu()? - cpu) * 1e6 / done))
    }

    fn pgbench(&self, script: &str, more: &[&str]) -> Result<String> {
        let path = self.folder.join("script.sql");
        fs::write(&path, script)?;
        let mut command = Command::new(program()?);
        command.args(["-n", "-M", "prepared", "-j", "2", "-f"]).arg(&path).args(more).arg(&self.at.database);
        let output = command.output().context("pgbench")?;
        anyhow::ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Seconds that Postgres has used, with all its processes, those that ended too.
    fn cpu(&self) -> Result<f64> {
        let mut ticks = (14..=17).map(|number| field(self.postgres, number)).sum::<Result<u64>>()?;
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // What ended meanwhile is counted with its parent.
            if field(pid, 4).is_ok_and(|parent| parent == u64::from(self.postgres)) {
                ticks += (14..=15).map(|number| field(pid, number).unwrap_or(0)).sum::<u64>();
            }
        }
        Ok(ticks as f64 / 100.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A field of `/proc/<pid>/stat`, numbered as proc(5) does.
fn field(pid: u32, number: usize) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("stat")?;
    Ok(rest.split_ascii_whitespace().nth(number - 3).context("stat")?.parse()?)
}

fn program() -> Result<PathBuf> {
    let newest = (13..=18).rev().map(|version| format!("/usr/lib/postgresql/{version}/bin/pgbench"));
    let found = newest.map(PathBuf::from).find(|path| Path::exists(path));
    found.context("pgbench is not installed (Debian: postgresql)")
}

fn user(number: u64) -> String {
    Uuid::from_u128((7 << 100) + u128::from(number)).to_string()
}

fn spend(person: u64, key: String) -> Bytes {
    let request = SpendRequest {
        user_id: user(person),
        currency: Currency::Gold.into(),
        amount: 1,
        destination: None,
        reason: "bench".to_owned(),
        reference: key.clone(),
        idempotency_key: key,
    };
    request.encode_to_vec().into()
}

/// A batch that gives five hundred people what they will spend.
fn seed(batch: u64) -> Bytes {
    let account = |owner| Some(Account { owner: Some(owner) });
    let postings = (0..500).map(|one| {
        let person = batch * 500 + one;
        let movement = Movement {
            from: account(Owner::House(House::Mint.into())),
            to: account(Owner::UserId(user(person))),
            currency: Currency::Gold.into(),
            amount: 1_000_000_000,
            funds: None,
            expires_at: None,
        };
        BatchPosting {
            movements: vec![movement],
            reason: "bench".to_owned(),
            reference: person.to_string(),
            idempotency_key: format!("seed-{person}"),
        }
    });
    PostBatchRequest { postings: postings.collect() }.encode_to_vec().into()
}
