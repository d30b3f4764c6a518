//! Generated values shared by every domain. Written by `cargo xtask codegen`; not edited.

/// `coreloop.*` packages.
pub mod coreloop {
    /// `coreloop.type`.
    pub mod r#type {
        /// Reasons any RPC may answer.
        #[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]
        #[rustfmt::skip]
        pub mod v1 {
            include!("gen/coreloop.type.v1.rs");
        }
    }
}

/// `google.*` packages.
pub mod google {
    /// `google.api`: `HttpBody`.
    #[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, reason = "generated")]
    #[rustfmt::skip]
    pub mod api {
        include!("gen/google.api.rs");
    }
}
