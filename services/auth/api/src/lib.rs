//! Contract of the auth service: stubs and reasons, and the `ext_authz` v3 types that Envoy speaks.
//!
//! Written by `cargo xtask codegen` from `proto/`; beside that, [`machine`]: how a service calls another as itself.

pub mod machine;

/// `coreloop.*` packages.
pub mod coreloop {
    /// `coreloop.auth`.
    pub mod auth {
        /// Accounts, sign-in, sessions and tokens.
        #[allow(missing_docs, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
        #[rustfmt::skip]
        pub mod v1 {
            include!("gen/coreloop.auth.v1.rs");
        }
    }
}

pub use coreloop::auth::v1;

/// `envoy.*` packages: the closure of the ext_authz service.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
#[rustfmt::skip]
pub mod envoy {
    pub mod config {
        pub mod core {
            pub mod v3 {
                include!("gen/envoy.config.core.v3.rs");
            }
        }
    }
    pub mod service {
        pub mod auth {
            pub mod v3 {
                include!("gen/envoy.service.auth.v3.rs");
            }
        }
    }
    pub mod r#type {
        pub mod v3 {
            include!("gen/envoy.type.v3.rs");
        }
    }
}

/// `xds.*` packages that the closure needs.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, unreachable_pub, reason = "generated")]
#[rustfmt::skip]
pub mod xds {
    pub mod core {
        pub mod v3 {
            include!("gen/xds.core.v3.rs");
        }
    }
}
