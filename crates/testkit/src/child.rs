//! Child processes that end with us, however we end.

use std::{
    process::{Child as Process, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError, mpsc},
};

use rustix::process::{Pid, Signal, kill_process};

type Order = (Command, mpsc::Sender<std::io::Result<Process>>);

/// The kernel sends the parent-death signal when the *thread* that started a child ends, so one thread that never ends
/// starts them all.
static STARTER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    std::thread::Builder::new()
        .name("children".into())
        .spawn(move || {
            for (mut command, reply) in inbox {
                let spawned = {
                    let _until_it_is_a_program = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
                    command.spawn()
                };
                let _ = reply.send(spawned);
            }
        })
        .expect("the thread that starts children starts");
    Mutex::new(orders)
});

static SPAWNING: Mutex<()> = Mutex::new(());

/// Waits for children that are being started. Until it is its own program a child holds all that this process has open: a port
/// whose listener was closed here meanwhile is not free before.
pub(crate) fn settled() {
    drop(SPAWNING.lock().unwrap_or_else(PoisonError::into_inner));
}

/// A running child process. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    process: Process,
}

impl Child {
    /// Starts `program` with `args`; its output goes to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(program: &str, args: &[String], log: std::fs::File) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]).args(args);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("log file")).stderr(log);
        let (reply, answer) = mpsc::channel();
        STARTER.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply)).expect("starter lives");
        let process = answer.recv().expect("starter answers");
        Self { process: process.unwrap_or_else(|error| panic!("{program} did not start: {error}")) }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process lives");
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Waits for its end; answers whether it ended well.
    pub fn wait(&mut self) -> bool {
        self.process.wait().is_ok_and(|status| status.success())
    }

    /// It has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
