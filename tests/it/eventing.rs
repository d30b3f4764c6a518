//! Events from the outbox to their effect, on the real Postgres and Redis: nothing committed is lost, nothing has its
//! effect twice, what was rolled back is never heard of, and a key keeps its order.

mod consuming;
mod relaying;
mod stage;
mod travelling;
