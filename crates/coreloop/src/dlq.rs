//! `coreloop dlq`: dead letters, for operators. Works on the databases, each queue in its service's own role, so it works
//! while no service runs; what it does stands in the audit of ops beside what administrators ask for over REST.

use coreloop_config::Settings;
use coreloop_core::{Clock as _, SystemClock, id::SystemIds};
use coreloop_eventing::{DeadLetter, DeadLetters, Depth, Filter};
use coreloop_ops::{Error, audit::Book};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{modules, verify};

/// Longest list that is printed when no length is asked for.
const SHOWN: u32 = 50;

/// What to do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Counts what every queue has set aside.
    Queues,
    /// Lists the dead letters of a queue, the oldest first.
    List(Which),
    /// Shows one dead letter with what it says.
    Show {
        /// The queue: a consumer's name, as `rewards.issue`.
        queue: String,
        /// Id of the event.
        id: Uuid,
    },
    /// Has dead letters tried again; which: by --id or --count.
    Reprocess(Which),
    /// Deletes dead letters for good; which: by --id or --count.
    Discard(Which),
}

/// Which dead letters.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// The queue: a consumer's name, as `rewards.issue`.
    queue: String,
    /// Only those that died for this reason.
    #[arg(long)]
    reason: Option<String>,
    /// Only this one.
    #[arg(long)]
    id: Option<Uuid>,
    /// At most so many, the oldest first.
    #[arg(long)]
    count: Option<u32>,
}

impl Which {
    fn filter(self) -> Filter {
        let Self { queue, reason, id, count } = self;
        Filter { consumer: queue, reason, id, after: 0, count: count.unwrap_or(SHOWN) }
    }

    /// What changes something says how much of it.
    fn stated(self) -> anyhow::Result<Filter> {
        anyhow::ensure!(self.id.is_some() || self.count.is_some(), "say which: --id or --count");
        Ok(self.filter())
    }
}

/// The databases of a queue's service and of ops.
struct Desk {
    letters: DeadLetters,
    theirs: PgPool,
    ours: PgPool,
}

/// Does it.
pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<()> {
    let (action, filter) = match command {
        Command::Queues => return queues(settings).await,
        Command::List(which) => ("ops.dead_letters.list", which.filter()),
        Command::Show { queue, id } => {
            ("ops.dead_letters.inspect", Filter { consumer: queue, reason: None, id: Some(id), after: 0, count: 1 })
        }
        Command::Reprocess(which) => ("ops.dead_letters.reprocess", which.stated()?),
        Command::Discard(which) => ("ops.dead_letters.discard", which.stated()?),
    };
    let desk = Desk::of(settings, &filter.consumer)?;
    let detail = json!({ "count": filter.count, "reason": filter.reason, "id": filter.id });
    let book = Book { db: &desk.ours, clock: &SystemClock, ids: &SystemIds };
    let act = ("cli".to_owned(), action, filter.consumer.as_str());
    match action {
        "ops.dead_letters.reprocess" => {
            let count = book.audited(act, detail, desk.reprocess(&filter), |count| json!({ "count": count })).await?;
            println!("{count} will be tried again");
        }
        "ops.dead_letters.discard" => {
            let count = book.audited(act, detail, desk.discard(&filter), |count| json!({ "count": count })).await?;
            println!("{count} deleted");
        }
        _ => {
            let found = book.audited(act, detail, desk.find(&filter), |found| json!({ "count": found.len() })).await?;
            found.iter().for_each(|letter| print(letter, action == "ops.dead_letters.inspect"));
            anyhow::ensure!(action != "ops.dead_letters.inspect" || !found.is_empty(), "there is no such dead letter");
        }
    }
    Ok(())
}

impl Desk {
    fn of(settings: &Settings, queue: &str) -> anyhow::Result<Self> {
        let domain = queue.split('.').next().unwrap_or_default();
        anyhow::ensure!(modules::names().contains(&domain), "no service has a queue `{queue}`");
        let connect = |role: &str| verify::database(settings, role);
        Ok(Self { letters: DeadLetters::new(domain)?, theirs: connect(domain)?, ours: connect("ops")? })
    }

    async fn find(&self, filter: &Filter) -> Result<Vec<DeadLetter>, Error> {
        let mut connection = self.theirs.acquire().await?;
        let found = match filter.id {
            Some(_) => self.letters.list(&mut connection, filter).await,
            None => self.letters.glance(&mut connection, filter).await,
        };
        Ok(found.map_err(coreloop_core::Problem::from)?)
    }

    async fn reprocess(&self, filter: &Filter) -> Result<u64, Error> {
        let mut connection = self.theirs.acquire().await?;
        let done = self.letters.reprocess(&mut connection, filter, SystemClock.now()).await;
        Ok(done.map_err(coreloop_core::Problem::from)?)
    }

    async fn discard(&self, filter: &Filter) -> Result<u64, Error> {
        let mut connection = self.theirs.acquire().await?;
        let gone = self.letters.discard(&mut connection, filter, SystemClock.now()).await;
        Ok(gone.map_err(coreloop_core::Problem::from)?)
    }
}

/// Every queue of every service that hears events.
async fn queues(settings: &Settings) -> anyhow::Result<()> {
    for service in modules::with_tables() {
        let mut connection = verify::database(settings, service)?.acquire().await?;
        let letters = DeadLetters::new(service)?;
        if !letters.kept(&mut connection).await.map_err(coreloop_core::Problem::from)? {
            continue;
        }
        for Depth { consumer, dead, archived, waiting, oldest_at } in
            letters.depths(&mut connection).await.map_err(coreloop_core::Problem::from)?
        {
            let oldest = oldest_at.map(|at| format!("  the oldest died {at}")).unwrap_or_default();
            println!("{consumer}  {dead} dead  {archived} archived  {waiting} waiting{oldest}");
        }
    }
    Ok(())
}

fn print(letter: &DeadLetter, whole: bool) {
    let state = if letter.archived { "archived" } else { "dead" };
    let DeadLetter { id, topic, key, failures, reason, error, died_at, .. } = letter;
    // What a handler said begins with its reason, what a broker said does not.
    let said = error.strip_prefix(reason.as_str()).map_or(error.as_str(), |said| said.trim_start_matches([':', ' ']));
    println!("{id}  {died_at}  {state}  {topic}  {key}  {failures} tries  {reason}: {said}");
    if whole {
        println!("{}\n{}", letter.envelope, String::from_utf8_lossy(&letter.payload));
    }
}
