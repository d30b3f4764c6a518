//! What every RPC and every binding must keep, computed from the descriptors: nobody lists them here.

mod audited;
mod decisions;
mod limits;
mod owners;
mod policy;
mod transcoder;
mod unknown;
