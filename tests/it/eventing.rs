//! Events from the outbox to their effect, and commands to theirs, on the real Postgres and Redis: nothing committed is
//! lost, nothing has its effect twice, what was rolled back is never heard of, and a key keeps its order.

mod buses;
mod capturing;
mod commanding;
mod consuming;
mod forgetting;
mod hindered;
mod idle;
mod kafka;
mod keeping;
mod laned;
mod outboxed;
mod passing;
mod promises;
mod rabbit;
mod recorded;
mod refused;
mod registry;
mod relaying;
mod sqs;
pub mod stage;
mod tables;
mod travelling;
