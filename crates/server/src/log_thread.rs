//! The thread that writes the log.
//!
//! Whoever reads standard error may stop reading; a write then waits, and on a runtime's thread everything would wait with
//! it. So lines go through a queue to a thread of their own. When the queue is full lines are dropped, and once there is
//! room a line says how many.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Lines that may wait; about five megabytes.
const QUEUE: usize = 8192;
/// Bytes written at once.
const BATCH: usize = 64 * 1024;
/// How long the end of the process waits for a reader that does not read.
const LAST: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    /// Answered when everything before is written.
    Flush(SyncSender<()>),
}

/// Where lines are given; never waits. Clones share the thread.
#[derive(Clone)]
pub(crate) struct LogThread {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

impl LogThread {
    /// Starts the thread, which writes to `out`; `told` makes the line that tells how many were dropped.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        told: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        thread::Builder::new().name("log".to_owned()).spawn(move || write(&items, out, &lost, told))?;
        Ok(Self { queue, dropped })
    }

    /// Waits until everything given so far is written, but not long.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        let until = Instant::now() + LAST;
        let mut item = Item::Flush(done);
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = self.queue.try_send(item) {
            if Instant::now() >= until {
                return;
            }
            item = back;
            thread::sleep(Duration::from_millis(5));
        }
        let _late = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

impl Write for LogThread {
    /// Takes one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(items: &Receiver<Item>, mut out: impl Write, dropped: &AtomicU64, told: impl Fn(u64) -> String) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = items.recv() {
        let mut next = Some(first);
        let mut flushed = None;
        while let Some(item) = next {
            match item {
                Item::Line(line) => batch.extend_from_slice(&line),
                Item::Flush(done) => flushed = Some(done),
            }
            next = (batch.len() < BATCH && flushed.is_none()).then(|| items.try_recv().ok()).flatten();
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            batch.extend_from_slice(told(lost).as_bytes());
        }
        // There is nowhere to say that lines cannot be written.
        let _unwritten = out.write_all(&batch).and_then(|()| out.flush());
        batch.clear();
        if let Some(done) = flushed {
            let _nobody_waits = done.send(());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// A reader that reads only when it is let.
    #[derive(Clone, Default)]
    struct Stalled(Arc<(Mutex<Read>, Condvar)>);

    /// Whether it reads, and what it has read.
    type Read = (bool, Vec<u8>);

    impl Stalled {
        fn read_on(&self) {
            self.0.0.lock().unwrap().0 = true;
            self.0.1.notify_all();
        }

        /// What was read, and how many were lost, once both make up what was given.
        fn all_of(&self, given: usize) -> (Vec<usize>, usize) {
            let told = |bytes: &[u8]| {
                let lines = std::str::from_utf8(bytes).unwrap().lines();
                let (lost, read): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("lost "));
                let lost = lost.iter().map(|line| line.trim_start_matches("lost ").parse::<usize>().unwrap()).sum();
                (read.iter().map(|line| line.parse().unwrap()).collect::<Vec<usize>>(), lost)
            };
            let less = |(_, bytes): &mut Read| {
                let (read, lost) = told(bytes);
                read.len() + lost < given
            };
            let state = self.0.0.lock().unwrap();
            let (state, late) = self.0.1.wait_timeout_while(state, Duration::from_secs(30), less).unwrap();
            assert!(!late.timed_out(), "not all of {given} is read or told lost");
            told(&state.1)
        }
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let state = self.0.0.lock().unwrap();
            let mut state = self.0.1.wait_while(state, |(reads, _)| !*reads).unwrap();
            state.1.extend_from_slice(bytes);
            self.0.1.notify_all();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_stops_nobody_and_hears_how_much_it_missed() {
        let reader = Stalled::default();
        let mut log = LogThread::start(reader.clone(), |lost| format!("lost {lost}\n")).unwrap();
        // More than wait and more than the thread holds: these calls return although nothing is read.
        let given = QUEUE * 2 + BATCH;
        for number in 0..given {
            log.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        reader.read_on();
        let (written, lost) = reader.all_of(given);
        assert!(lost > 0 && written.len() >= QUEUE, "{lost} lost, {} written", written.len());
        assert_eq!(written.len() + lost, given);
        assert!(written.is_sorted());
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_for_long() {
        let mut log = LogThread::start(Stalled::default(), |_| String::new()).unwrap();
        log.write_all(b"unread\n").unwrap();
        let began = Instant::now();
        log.flush();
        assert!(began.elapsed() < LAST * 5);
    }
}
