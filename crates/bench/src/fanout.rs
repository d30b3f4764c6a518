//! P16: what it costs to say something to many sockets, beside a bare write to as many connections; and what a reader that does not
//! read costs the others.
//!
//! What is counted is the CPU of the process that has the sockets: it hears Redis, finds who is concerned, and makes and writes a frame
//! for each. Redis, and whoever says it, are not counted, and neither is who listens.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    child::Part,
    cpu::Turn,
    line::{self, Line},
    report::{Row, median, quantile, spread},
    sockets::{Crowd, EACH, Mesh, PATIENCE, caught_up},
};

/// People who have sockets, each as many as there may be.
const PEOPLE: usize = 125;
/// Turns that each of those compared has in a round.
const TURNS: usize = 4;
/// Messages of one turn to each socket: one after another has arrived everywhere, and so many at once that they queue and none is
/// put together.
const ALONE: u32 = 8;
const QUEUED: u32 = 16;
/// Bytes of a message's text.
const SIZE: usize = 120;

/// People who have a reader that does not read, and rounds of that.
const BESIDE: usize = 5;
const STUCK_ROUNDS: usize = 3;
/// Their messages, and the time between two: twice of what the kernel and the queues of the mesh keep for one that does not read.
const LARGE: usize = 24 * 1024;
const MESSAGES: usize = 400;
const PACE: Duration = Duration::from_millis(25);
/// What the kernel of a reader that does not read keeps.
const ROOM: u32 = 64 * 1024;

/// The rows.
///
/// # Errors
/// When anything fails or a message is missing.
pub(crate) async fn rows(rounds: usize) -> Result<Vec<Row>> {
    let mut rows = cost(rounds).await?;
    rows.push(stuck(rounds.min(STUCK_ROUNDS)).await?);
    Ok(rows)
}

/// CPU of a delivery, beside a bare write of the same bytes.
async fn cost(rounds: usize) -> Result<Vec<Row>> {
    let mesh = Mesh::start(PEOPLE, 200).await?;
    let mut crowd = mesh.open(0..PEOPLE).await?;
    ours(&mesh, &mut crowd, 1, 1).await?;
    let first = crowd.first().context("a message")?;
    let mut bare = Bare::start(crowd.len(), &line::text(&first)).await?;
    let (mut alone, mut queued, mut each) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (mut one, mut many, mut write, mut writes) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..TURNS {
            one += ours(&mesh, &mut crowd, ALONE, 1).await?;
            write += bare.turn(ALONE, 1).await?;
            many += ours(&mesh, &mut crowd, 1, QUEUED).await?;
            writes += bare.turn(1, QUEUED).await?;
        }
        if round > 0 {
            alone.push(one / write);
            queued.push(many / writes);
            each.push([one, write, many, writes].map(|sum| sum / TURNS as f64));
        }
    }
    let micros = |index: usize| median(&each.iter().filter_map(|row| row.get(index)).copied().collect::<Vec<_>>());
    let row = |what: &str, ratios: &[f64], (most, aim): (f64, &'static str), (ours, bare): (usize, usize)| Row {
        id: "P16",
        what: what.to_owned(),
        measured: format!("{:.2}", median(ratios)),
        aim,
        met: median(ratios) <= most,
        detail: format!(
            "CPU {:.1} µs a delivery beside {:.1} µs a write of the same {} bytes; {} sockets of {PEOPLE} users, \
             gateway and realtime in one process; {}",
            micros(ours),
            micros(bare),
            first.len(),
            crowd.len(),
            spread(ratios)
        ),
    };
    let queue = format!("fan-out per delivery when {QUEUED} messages queue, of a bare write each");
    Ok(vec![
        row("fan-out per delivery, of a bare write", &alone, (1.1, "≤ 1.1"), (0, 1)),
        row(&queue, &queued, (0.6, "≤ 0.6"), (2, 3)),
    ])
}

/// CPU microseconds a delivery of the mesh: `waves` after each other of `many` messages to everybody.
async fn ours(mesh: &Mesh, crowd: &mut Crowd, waves: u32, many: u32) -> Result<f64> {
    let deliveries = u64::from(many) * crowd.len() as u64;
    let turn = Turn::of(&[mesh.part.pid()])?;
    for _ in 0..waves {
        let heard = crowd.will_hear(deliveries);
        mesh.say(0..PEOPLE, many as usize, SIZE).await?;
        heard.await?;
    }
    turn.each(u64::from(waves) * deliveries)
}

/// A process that writes the same bytes to as many connections.
struct Bare {
    part: Part,
    control: TcpStream,
    crowd: Crowd,
}

impl Bare {
    async fn start(sockets: usize, frame: &[u8]) -> Result<Self> {
        let part = Part::start("bare-writes", &[])?;
        let address: SocketAddr = part.address.parse()?;
        let mut control = TcpStream::connect(address).await?;
        control.set_nodelay(true)?;
        control.write_u32(u32::try_from(sockets)?).await?;
        control.write_u32(u32::try_from(frame.len())?).await?;
        control.write_all(frame).await?;
        let mut lines = Vec::with_capacity(sockets);
        for number in 0..sockets {
            lines.push(Line::bare(address, line::source(number)).await?);
        }
        control.read_u8().await?;
        Ok(Self { part, control, crowd: Crowd::of(lines, std::time::Instant::now()) })
    }

    /// CPU microseconds a write.
    async fn turn(&mut self, waves: u32, many: u32) -> Result<f64> {
        let writes = u64::from(many) * self.crowd.len() as u64;
        let turn = Turn::of(&[self.part.pid()])?;
        for _ in 0..waves {
            let heard = self.crowd.will_hear(writes);
            self.control.write_u32(many).await?;
            self.control.read_u8().await?;
            heard.await?;
        }
        turn.each(u64::from(waves) * writes)
    }
}

/// Serves what [`Bare`] asks for.
///
/// # Errors
/// When no port can be had.
pub(crate) async fn bare() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = write(listener).await {
            tracing::error!(%error, "the bare writes ended");
        }
    });
    Ok(address)
}

/// The first connection says how many others come and what is written to them; then, each time, how often.
async fn write(listener: TcpListener) -> Result<()> {
    let (mut control, _) = listener.accept().await?;
    control.set_nodelay(true)?;
    let (sockets, length) = (control.read_u32().await?, control.read_u32().await?);
    let mut frame = vec![0; length as usize];
    control.read_exact(&mut frame).await?;
    let frame = Bytes::from(frame);
    let mut open = Vec::with_capacity(sockets as usize);
    for _ in 0..sockets {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        open.push(socket);
    }
    control.write_u8(1).await?;
    loop {
        for _ in 0..control.read_u32().await? {
            for socket in &mut open {
                socket.write_all(&frame).await?;
            }
        }
        control.write_u8(1).await?;
    }
}

/// p99 of the others' messages while one reader of each user does not read, of the same while all do.
async fn stuck(rounds: usize) -> Result<Row> {
    // What is said to a user stays with Redis: a little of it is enough here.
    let mesh = Mesh::start(2 * BESIDE * (rounds + 1), 20).await?;
    let (mut ratios, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        // New people each time: nobody waits for a place that is given back later.
        let first = 2 * BESIDE * round;
        let read = tail(&mesh, first, false).await?;
        let unread = tail(&mesh, first + BESIDE, true).await?;
        if round > 0 {
            ratios.push(unread / read);
            with.push(unread);
            without.push(read);
        }
    }
    let ratio = median(&ratios);
    Ok(Row {
        id: "P16",
        what: "p99 to the others while a reader of each user is stuck, of when all read".to_owned(),
        measured: format!("{ratio:.2}"),
        aim: "≤ 1.2",
        met: ratio <= 1.2,
        detail: format!(
            "{:.1} ms beside {:.1} ms, {MESSAGES} messages of {} KiB to {} sockets; every stuck one was closed before \
             it had all; {}",
            median(&with),
            median(&without),
            LARGE / 1024,
            BESIDE * EACH,
            spread(&ratios)
        ),
    })
}

/// p99, in milliseconds, of what is said at a steady pace to all sockets but the last of each user, which reads or does not.
async fn tail(mesh: &Mesh, first: usize, stuck: bool) -> Result<f64> {
    let people = first..first + BESIDE;
    let (mut lines, mut last) = (Vec::new(), Vec::new());
    for (number, person) in people.clone().enumerate() {
        for each in 1..EACH {
            lines.push(mesh.line(person, number * EACH + each, None).await?);
        }
        last.push(mesh.line(person, number * EACH, stuck.then_some(ROOM)).await?);
    }
    let mut crowd = Crowd::of(lines, mesh.began());
    let (unread, readers) = match stuck {
        true => (last, None),
        false => (Vec::new(), Some(Crowd::of(last, mesh.began()))),
    };
    crowd.time();
    let all = crowd.will_hear((MESSAGES * crowd.len()) as u64);
    let mut pace = tokio::time::interval(PACE);
    for _ in 0..MESSAGES {
        pace.tick().await;
        mesh.say(people.clone(), 1, LARGE).await?;
    }
    all.await?;
    for line in unread {
        let heard = tokio::time::timeout(PATIENCE, caught_up(line)).await;
        let heard = heard.context("a reader was not stuck: it was not closed")??;
        anyhow::ensure!(heard < MESSAGES as u64, "a reader was not stuck: it has all {heard} messages");
    }
    let p99 = quantile(&mut crowd.late(), 0.99);
    crowd.hang_up().await;
    if let Some(readers) = readers {
        readers.hang_up().await;
    }
    Ok(p99)
}
