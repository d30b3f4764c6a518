//! The vocabulary of every crate: ids, time, page tokens and errors. No I/O.
//!
//! Three decisions live here and nowhere else. **Only this crate builds a [`tonic::Status`]**: a crate has its own
//! closed error enum, says a [`Kind`] and a stable reason for each case, and turns it into a [`Problem`]; the
//! conversion to a status with `google.rpc` details is [`Problem`]'s. **Time and ids are injected** ([`Clock`],
//! [`Ids`]) so that tests move time instead of sleeping. **Ids are newtypes**, so a session is never taken for a user.

pub mod clock;
pub mod codec;
pub mod fact;
pub mod id;
pub mod page;
pub mod pb;
pub mod problem;

pub use clock::{Clock, ManualClock, SystemClock};
pub use fact::Fact;
pub use id::{Ids, SessionId, TokenId, UserId};
pub use pb::coreloop::r#type::v1::Reason;
pub use problem::{Kind, Problem, Violation};
