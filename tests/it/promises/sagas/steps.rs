//! Steps of sagas that fail, or are held where they are written until whoever takes them is killed.
//!
//! A step is a commit. A trigger that is deferred to it finds whether this step of this user is to fail once, or to wait for a lock
//! of the test's: then the process has asked for the commit and does not know. It is killed there, and after that the commit is
//! taken from the database as well (the kill came before the step), or let through (it came after it).

use coreloop_testkit::{
    TestMesh,
    wait::{PATIENCE, wait_for},
};
use sqlx::PgConnection;

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The database refuses it once.
    Fails,
    /// Who takes it is killed, and it is not taken.
    Before,
    /// It is taken, and who took it is killed before that is known.
    After,
}

/// What happens at a step (`here`) of somebody (`whose`).
const SPOTS: &str = "
    create table public.spots (number bigint primary key, who uuid not null, spot text not null, fails boolean not null);
    create function public.at_spot(whose uuid, here text) returns void
        language plpgsql security definer set lock_timeout = 0 as $$
    declare
        it public.spots;
    begin
        select * into it from public.spots where who = whose and spot = here;
        if not found then
            return;
        elsif not it.fails then
            perform pg_advisory_xact_lock_shared(it.number);
        elsif nextval(format('public.tried_%s', it.number)) = 1 then
            raise exception 'not now';
        end if;
    end
    $$";

/// Steps of purchases and redemptions.
const TRIGGERS: &str = "
    create function public.spot() returns trigger language plpgsql security definer as $$
    declare
        whose uuid;
        here text;
    begin
        if tg_table_schema = 'wallet' then
            here := new.reason;
            select user_id into whose from (
                select user_id from shop.purchases where id::text = new.reference
                union all select user_id from rewards.redemptions where id::text = new.reference) as of;
        elsif tg_table_schema = 'shop' then
            whose := new.user_id;
            here := case when tg_op = 'INSERT' then 'written'
                         when old.state > 2 then 'charged back'
                         when new.state = 4 then 'voided'
                         when new.state > 2 then 'ended'
                         when new.verdict is distinct from old.verdict then 'decided'
                         when new.state = 2 and old.state = 1 then 'pending' end;
        elsif tg_op = 'INSERT' or new.state <> old.state then
            whose := new.user_id;
            here := (array['reserved', 'paid', 'issued', 'returning', 'failed', 'cancelled'])[new.state];
        end if;
        perform public.at_spot(whose, here);
        return null;
    end
    $$;
    create constraint trigger spot after insert or update on shop.purchases deferrable initially deferred
        for each row execute function public.spot();
    create constraint trigger spot after insert or update on rewards.redemptions deferrable initially deferred
        for each row execute function public.spot();
    create constraint trigger spot after insert on wallet.postings deferrable initially deferred
        for each row execute function public.spot()";

/// Who waits for a lock of ours.
const WAITING: &str = "from pg_locks where locktype = 'advisory' and not granted and classid = 0
    and database = (select oid from pg_database where datname = current_database())";

/// Steps of a mesh.
pub struct Steps {
    /// Has the locks.
    session: PgConnection,
    held: Vec<(i64, Way)>,
    next: i64,
}

impl Steps {
    /// Those of purchases and redemptions.
    pub async fn of(mesh: &TestMesh) -> Self {
        Self::with(mesh, TRIGGERS).await
    }

    /// Those of `triggers` (SQL), which call `public.at_spot(whose, here)` in each commit that is one.
    pub async fn with(mesh: &TestMesh, triggers: &str) -> Self {
        mesh.db.execute(SPOTS).await;
        mesh.db.execute(triggers).await;
        Self { session: mesh.db.connect().await, held: Vec::new(), next: 0 }
    }

    /// A step of somebody goes this way.
    pub async fn put(&mut self, mesh: &TestMesh, who: &str, spot: &str, way: Way) {
        self.next += 1;
        let (number, fails) = (self.next, way == Way::Fails);
        if fails {
            mesh.db.execute(&format!("create sequence public.tried_{number}")).await;
        } else {
            sqlx::query("select pg_advisory_lock($1)").bind(number).execute(&mut self.session).await.unwrap();
            self.held.push((number, way));
        }
        mesh.db.execute(&format!("insert into public.spots values ({number}, '{who}', '{spot}', {fails})")).await;
    }

    /// Every step that is to fail has failed, and every one that is to be held is.
    pub async fn reached(&self, mesh: &TestMesh) {
        let missing = format!(
            "select coalesce(array_agg(spot), '{{}}') from public.spots
              where case when fails then (select last_value from pg_sequences where sequencename = 'tried_' || number) is null
                    else number not in (select objid::bigint {WAITING}) end"
        );
        let (mut session, mut least) = (mesh.db.connect().await, vec!["all".to_owned(); 1_000]);
        let waiting = wait_for("every step is reached", PATIENCE * 8, async || {
            let missing = sqlx::query_scalar::<_, Vec<String>>(sqlx::AssertSqlSafe(missing.as_str()));
            let missing = missing.fetch_one(&mut session).await.unwrap();
            if missing.len() < least.len() {
                least = missing;
            }
            least.is_empty().then_some(())
        });
        let reached = tokio::time::timeout(PATIENCE * 4, waiting).await;
        assert!(reached.is_ok(), "these were not reached, or not while the others were held: {least:?}");
    }

    /// Whoever took them is dead: they are taken or not, and none is held any more.
    pub async fn let_go(&mut self, mesh: &TestMesh) {
        mesh.db.execute("delete from public.spots").await;
        let before = self.held.iter().filter(|(_, way)| *way == Way::Before).map(|(number, _)| number.to_string());
        let before = before.chain(["0".to_owned()]).collect::<Vec<_>>().join(", ");
        mesh.db.execute(&format!("select pg_terminate_backend(pid, 5000) {WAITING} and objid in ({before})")).await;
        sqlx::query("select pg_advisory_unlock_all()").execute(&mut self.session).await.unwrap();
        self.held.clear();
    }
}
