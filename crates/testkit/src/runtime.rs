//! The one runtime of the test process, what is done after a test, and fixtures that tests share.

use std::{
    future::Future,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, LocalBoxFuture};
use tokio::{runtime::Runtime, sync::OnceCell};

/// The longest a test may take; a hang becomes a failure with a name.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest a test with the figures of chapter 09 may take ([`crate::deep()`]).
pub const DEEP_TIMEOUT: Duration = Duration::from_secs(1_800);

/// The longest that a test is given more for what is made meanwhile.
const SHARED_TIMEOUT: Duration = Duration::from_secs(240);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .thread_name("mesh")
        .enable_all()
        .build()
        .expect("the runtime of the tests starts")
});

static LATER: Mutex<Vec<BoxFuture<'static, ()>>> = Mutex::new(Vec::new());

/// Makings of what tests share that are over, and since when one is under way.
static SHARING: Mutex<(Duration, Vec<Instant>)> = Mutex::new((Duration::ZERO, Vec::new()));

/// Runs a test on the runtime of the process, then what its fixtures left to do. What it waits for while something is made that
/// tests share is not its time.
///
/// # Panics
/// When the test panics or takes longer than [`TEST_TIMEOUT`], or [`DEEP_TIMEOUT`].
pub fn run<F: Future>(test: F) -> F::Output {
    let output = RUNTIME.block_on(async {
        let (mut test, began, before) = (std::pin::pin!(test), Instant::now(), shared());
        loop {
            match tokio::time::timeout_at((began + limit(before)).into(), &mut test).await {
                Ok(output) => break output,
                Err(_) => assert!(began.elapsed() < limit(before), "the test ended within its time limit"),
            }
        }
    });
    let left = std::mem::take(&mut *LATER.lock().unwrap_or_else(PoisonError::into_inner));
    RUNTIME.block_on(futures::future::join_all(left));
    output
}

/// Makes something that tests share.
pub(crate) async fn sharing<T>(making: impl Future<Output = T>) -> T {
    let _making = Making::begin();
    making.await
}

/// Something that tests share is in the making.
struct Making(Instant);

impl Making {
    fn begin() -> Self {
        let began = Instant::now();
        sharings().1.push(began);
        Self(began)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let mut sharings = sharings();
        sharings.0 += self.0.elapsed();
        sharings.1.retain(|one| *one != self.0);
    }
}

/// The time limit of a test that began when things had been in the making for `before`.
fn limit(before: Duration) -> Duration {
    let longest = if crate::deep() { DEEP_TIMEOUT } else { TEST_TIMEOUT };
    longest + shared().saturating_sub(before).min(SHARED_TIMEOUT)
}

/// How long things that tests share have been in the making, each for itself.
fn shared() -> Duration {
    let sharings = sharings();
    sharings.1.iter().map(Instant::elapsed).sum::<Duration>() + sharings.0
}

fn sharings() -> MutexGuard<'static, (Duration, Vec<Instant>)> {
    SHARING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leaves asynchronous work of a `Drop` for the end of the test.
pub(crate) fn later(work: impl Future<Output = ()> + Send + 'static) {
    LATER.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(work));
}

/// A fixture made once and shared by the tests of a file. It lives until the process ends.
pub struct Shared<T: 'static> {
    cell: OnceCell<T>,
    make: fn() -> LocalBoxFuture<'static, T>,
}

impl<T> Shared<T> {
    /// A fixture that `make` makes when it is first asked for.
    pub const fn new(make: fn() -> LocalBoxFuture<'static, T>) -> Self {
        Self { cell: OnceCell::const_new(), make }
    }

    /// The fixture.
    pub async fn get(&self) -> &T {
        self.cell.get_or_init(|| sharing((self.make)())).await
    }
}
