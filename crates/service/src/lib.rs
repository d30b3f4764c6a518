//! What a domain may ask for and must hand back.
//!
//! A domain is a [`Module`]: it names itself, its migrations and the peers it needs, and builds gRPC services, workers and
//! readiness checks from a [`Ctx`]. It learns nothing of sockets, signals or exporters, so the same module runs alone,
//! with others in one process, or under test. Peers are reached through a [`Link`]: the stock generated client over
//! either a slot in this process or a remote channel, with the same layers, metadata and status codes in both.

pub mod call;
pub mod ctx;
pub mod frame;
pub mod link;
pub mod local;
pub mod module;
pub mod readiness;
pub mod spans;
pub mod upgrade;
pub mod words;
pub mod worker;

pub use call::{Call, Target, Trace};
pub use ctx::{Ctx, Metrics, Mode};
pub use link::{Link, Links};
pub use local::{Answering, Local, Rpcs};
pub use module::{BuildError, Built, Check, Module, RouteName};
pub use readiness::{Component, Readiness};
pub use spans::{Ended, Span, Spans};
pub use words::Words;
pub use worker::Worker;
