//! The shop through the wire, on the real Postgres, Redis and wallet, with the sandbox's payment service: a purchase is one,
//! whatever is asked again, cut or killed; what is limited is not oversold; a payment is settled once.

pub mod away;
mod buying;
mod fraud;
mod full;
pub mod integrity;
mod interrupted;
mod limited;
mod metrics;
mod paybacks;
mod promises;
mod receipts;
mod refusing;
mod settling;
pub mod stage;
mod targets;
mod times;
mod travelling;
