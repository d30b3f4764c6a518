//! Argon2id (RFC 9106) on threads of its own.
//!
//! A hash costs tens of milliseconds of one core and 19 MiB. On the runtime's threads a storm of sign-ins would starve
//! the check of every other request; here it queues behind a thread per core that the kernel runs only where nobody else
//! wants to (`SCHED_IDLE`), and takes from at once when somebody does. Where somebody always does, as beside other busy
//! processes, that may be never: who has waited for [`STARVED`] goes to one more thread, which has the share of any other.
//! Each thread keeps its working memory while it is busy, which saves the page faults of a fresh allocation per hash.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use prometheus_client::metrics::counter::Counter;
use secrecy::{ExposeSecret as _, SecretString};
#[cfg(target_os = "linux")]
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use tokio::sync::oneshot;

use crate::{Error, Options, vault};

const SALT_LEN: usize = 16;
const HASH_LEN: usize = 32;
/// A thread gives its memory back after this long without work.
const IDLE: Duration = Duration::from_secs(1);

/// Memory and passes are at least one of OWASP's equivalent minimums.
#[must_use]
pub fn meets_owasp(memory_kib: u32, passes: u32) -> bool {
    [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)]
        .iter()
        .any(|(memory, least)| memory_kib >= *memory && passes >= *least)
}

/// So long the threads that give way may take: longer than a full queue, shorter than a call.
const STARVED: Duration = Duration::from_secs(5);

enum Job {
    Hash(SecretString, oneshot::Sender<Result<String, Error>>),
    Verify(SecretString, Option<String>, oneshot::Sender<Result<bool, Error>>),
}

/// Hashes and verifies passwords. Clones share the threads, which end with the last clone.
#[derive(Debug, Clone)]
pub struct Hasher {
    yielding: SyncSender<Job>,
    fair: SyncSender<Job>,
}

impl Hasher {
    /// Starts the threads. `filled` counts their work: KiB of memory times passes.
    ///
    /// # Errors
    /// When the settings are no valid parameters or a thread cannot be started.
    pub fn start(options: &Options, filled: &Counter) -> Result<Self, Error> {
        let params = Params::new(options.argon2_memory_kib, options.argon2_passes, 1, Some(HASH_LEN))
            .map_err(|error| Error::Internal(error.to_string()))?;
        let start = |name: String, jobs: Arc<Mutex<Receiver<Job>>>, yields: bool| {
            let (params, desk) = (params.clone(), Desk { memory: Vec::new(), filled: filled.clone() });
            let run = move || {
                if yields {
                    yield_to_everybody();
                }
                work(&jobs, &params, desk);
            };
            let started = std::thread::Builder::new().name(name).spawn(run);
            started.map(drop).map_err(|error| Error::Internal(error.to_string()))
        };
        let (yielding, jobs) = sync_channel(options.hash_queue as usize);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..threads(options.hash_threads) {
            start(format!("auth-hash-{number}"), Arc::clone(&jobs), true)?;
        }
        let (fair, jobs) = sync_channel(options.hash_queue as usize);
        start("auth-hash-fair".to_owned(), Arc::new(Mutex::new(jobs)), false)?;
        Ok(Self { yielding, fair })
    }

    /// Hashes a password to a PHC string.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue is full.
    pub async fn hash(&self, password: impl Into<SecretString>) -> Result<String, Error> {
        let password = password.into();
        self.ask(|reply| Job::Hash(password.clone(), reply)).await
    }

    /// Verifies a password against a PHC string. Without one the same work is done for nothing, so that the time does not
    /// tell whether there is an account.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue is full; a fault of ours when the stored string is not one of ours.
    pub async fn verify(&self, password: impl Into<SecretString>, phc: Option<String>) -> Result<bool, Error> {
        let password = password.into();
        self.ask(|reply| Job::Verify(password.clone(), phc.clone(), reply)).await
    }

    /// Asks the threads that give way and, of who is starved, the other one as well; the first answer counts.
    async fn ask<T>(&self, job: impl Fn(oneshot::Sender<Result<T, Error>>) -> Job) -> Result<T, Error> {
        let ended = |_| Error::Internal("a hash thread ended".into());
        let (reply, mut first) = oneshot::channel();
        self.yielding.try_send(job(reply)).map_err(refused)?;
        if let Ok(answer) = tokio::time::timeout(STARVED, &mut first).await {
            return answer.map_err(ended)?;
        }
        let (reply, second) = oneshot::channel();
        if self.fair.try_send(job(reply)).is_err() {
            return first.await.map_err(ended)?;
        }
        tokio::select! {
            answer = first => answer,
            answer = second => answer,
        }
        .map_err(ended)?
    }
}

fn refused(error: TrySendError<Job>) -> Error {
    match error {
        TrySendError::Full(_) => Error::Overloaded,
        TrySendError::Disconnected(_) => Error::Internal("the hash threads ended".into()),
    }
}

/// Every core: whoever answers a call takes it back at once.
fn threads(asked: u32) -> usize {
    if asked > 0 {
        return asked as usize;
    }
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What a thread works with.
#[derive(Default)]
struct Desk {
    memory: Vec<Block>,
    filled: Counter,
}

fn work(jobs: &Mutex<Receiver<Job>>, params: &Params, mut desk: Desk) {
    loop {
        // The guard is a temporary: the lock is held while waiting, never while hashing.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(IDLE);
        match next {
            Ok(job) => serve(job, params, &mut desk),
            Err(RecvTimeoutError::Timeout) => desk.memory = Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Lets every other thread of the machine go first. A nice value would not do: a nicer thread still ends its slice, some
/// milliseconds, before one that woke up runs.
fn yield_to_everybody() {
    #[cfg(target_os = "linux")]
    if let Err(error) = thread_priority::set_thread_priority_and_policy(
        thread_priority::thread_native_id(),
        ThreadPriority::Min,
        ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle),
    ) {
        tracing::warn!(?error, "hash threads keep their priority: sign-ins will delay other calls");
    }
}

/// Whoever no longer waits is not served: the try was counted all the same.
fn serve(job: Job, params: &Params, desk: &mut Desk) {
    match job {
        Job::Hash(password, reply) if !reply.is_closed() => {
            let _gone = reply.send(hash(password.expose_secret(), params, desk));
        }
        Job::Verify(password, phc, reply) if !reply.is_closed() => {
            let _gone = reply.send(verify(password.expose_secret(), phc.as_deref(), params, desk));
        }
        Job::Hash(..) | Job::Verify(..) => {}
    }
}

fn hash(password: &str, params: &Params, desk: &mut Desk) -> Result<String, Error> {
    let salt = vault::random::<SALT_LEN>()?;
    let out = derive(password, &salt, params, desk)?;
    Ok(format!(
        "$argon2id$v=19$m={},t={},p={}${}${}",
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(out)
    ))
}

fn verify(password: &str, phc: Option<&str>, params: &Params, desk: &mut Desk) -> Result<bool, Error> {
    let Some(phc) = phc else {
        derive(password, &[0; SALT_LEN], params, desk)?;
        return Ok(false);
    };
    let stored = parse(phc).ok_or_else(|| Error::Internal("a stored password hash cannot be read".into()))?;
    let out = derive(password, &stored.salt, &stored.params, desk)?;
    Ok(verify_slices_are_equal(&out, &stored.hash).is_ok())
}

fn derive(password: &str, salt: &[u8], params: &Params, desk: &mut Desk) -> Result<[u8; HASH_LEN], Error> {
    let blocks = params.block_count();
    if desk.memory.len() < blocks {
        desk.memory.resize(blocks, Block::new());
    }
    let memory = desk.memory.get_mut(..blocks).unwrap_or_default();
    let mut out = [0; HASH_LEN];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password.as_bytes(), salt, &mut out, memory)
        .map_err(|error| Error::Internal(error.to_string()))?;
    desk.filled.inc_by(u64::from(params.m_cost()) * u64::from(params.t_cost()));
    Ok(out)
}

struct Stored {
    params: Params,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

/// Reads `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
fn parse(phc: &str) -> Option<Stored> {
    let mut parts = phc.strip_prefix("$argon2id$v=19$")?.split('$');
    let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let mut costs = costs.split(',').zip(["m=", "t=", "p="]).map(|(cost, name)| cost.strip_prefix(name)?.parse().ok());
    let (memory, passes, lanes) = (costs.next()??, costs.next()??, costs.next()??);
    let hash = STANDARD_NO_PAD.decode(hash).ok().filter(|hash| hash.len() == HASH_LEN)?;
    Some(Stored {
        params: Params::new(memory, passes, lanes, Some(HASH_LEN)).ok()?,
        salt: STANDARD_NO_PAD.decode(salt).ok()?,
        hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Options {
        Options { argon2_memory_kib: 64, argon2_passes: 1, hash_queue: 4, ..Options::default() }
    }

    #[test]
    fn owasps_minimums_pass_and_less_does_not() {
        assert!(meets_owasp(19_456, 2) && meets_owasp(47_104, 1) && meets_owasp(65_536, 3));
        assert!(!meets_owasp(19_456, 1) && !meets_owasp(19_455, 2) && !meets_owasp(1_024, 10));
        let defaults = Options::default();
        assert!(meets_owasp(defaults.argon2_memory_kib, defaults.argon2_passes));
    }

    #[tokio::test]
    async fn a_hash_verifies_its_password_and_no_other() {
        let hasher = Hasher::start(&small(), &Counter::default()).unwrap();
        let phc = hasher.hash("correct horse".to_owned()).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        assert_ne!(phc, hasher.hash("correct horse".to_owned()).await.unwrap(), "salts are fresh");
        assert!(hasher.verify("correct horse".to_owned(), Some(phc.clone())).await.unwrap());
        assert!(!hasher.verify("correct horsf".to_owned(), Some(phc)).await.unwrap());
        assert!(!hasher.verify("correct horse".to_owned(), None).await.unwrap());
        assert!(hasher.verify("x".to_owned(), Some("$argon2id$broken".to_owned())).await.is_err());
    }

    /// The threads that give way get nowhere on a machine that is busy with others: here they are not there at all.
    #[tokio::test(start_paused = true)]
    async fn who_is_starved_is_served_by_the_thread_that_is_not() {
        let hasher = Hasher::start(&small(), &Counter::default()).unwrap();
        let (yielding, nobody) = sync_channel(1);
        let starved = Hasher { yielding, ..hasher };
        let asked = tokio::time::Instant::now();
        let phc = starved.hash("correct horse".to_owned()).await.unwrap();
        assert!(asked.elapsed() >= STARVED);
        let Ok(Job::Hash(_, reply)) = nobody.try_recv() else { panic!("nothing was asked of them") };
        assert!(reply.is_closed(), "the other's work is not done again");
        assert!(starved.verify("correct horse".to_owned(), Some(phc)).await.unwrap());
    }

    /// Field 41 of `/proc/…/stat` is the policy; `SCHED_IDLE` is 5 (sched(7), proc(5)).
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn hash_threads_run_only_where_nothing_else_does() {
        let hasher = Hasher::start(&small(), &Counter::default()).unwrap();
        hasher.hash("correct horse".to_owned()).await.unwrap();
        let policies: Vec<_> = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok())
            .filter(|stat| stat.contains("(auth-hash-"))
            .filter_map(|stat| stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).map(str::to_owned))
            .collect();
        assert!(policies.iter().any(|policy| policy == "5"), "{policies:?}");
    }

    #[test]
    fn the_format_is_the_one_of_the_reference_tool() {
        // echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32 (RFC 9106 reference code's test vector)
        let phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify("password", Some(phc), &Params::default(), &mut Desk::default()).unwrap());
    }
}
