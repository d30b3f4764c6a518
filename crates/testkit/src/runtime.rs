//! The one runtime of the test process, what is done after a test, and fixtures that tests share.

use std::{
    future::Future,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use futures::future::{BoxFuture, LocalBoxFuture};
use tokio::{runtime::Runtime, sync::OnceCell};

/// The longest a test may take; a hang becomes a failure with a name.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest a test with the figures of chapter 09 may take ([`crate::deep()`]).
pub const DEEP_TIMEOUT: Duration = Duration::from_secs(1_800);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .thread_name("mesh")
        .enable_all()
        .build()
        .expect("the runtime of the tests starts")
});

static LATER: Mutex<Vec<BoxFuture<'static, ()>>> = Mutex::new(Vec::new());

/// Runs a test on the runtime of the process, then what its fixtures left to do.
///
/// # Panics
/// When the test panics or takes longer than [`TEST_TIMEOUT`], or [`DEEP_TIMEOUT`].
pub fn run<F: Future>(test: F) -> F::Output {
    let longest = if crate::deep() { DEEP_TIMEOUT } else { TEST_TIMEOUT };
    let output = RUNTIME
        .block_on(async { tokio::time::timeout(longest, test).await.expect("the test ended within its time limit") });
    let left = std::mem::take(&mut *LATER.lock().unwrap_or_else(PoisonError::into_inner));
    RUNTIME.block_on(futures::future::join_all(left));
    output
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
        self.cell.get_or_init(self.make).await
    }
}
