//! Contract of events: what each domain says has happened (chapter 06), in `proto/coreloop/event/v1/<domain>.proto`.
//!
//! One crate for all, because whoever hears a fact is seldom of the domain that wrote it. Every message of these files is a
//! [`coreloop_core::Fact`] and travels on the topic that its name says: `AuthUserRegistered` on `events.auth.user_registered`.
//! Fields are only ever added, so a consumer reads what an older or a newer producer wrote.
//!
//! They are written by `cargo xtask codegen`. Beside them lives what every service says in the same words: what administrators
//! do ([`Acts`]).

mod acts;

/// `coreloop.*` packages, in the shape that the generated code names them by.
pub mod coreloop {
    /// What facts share with the contract of auth.
    pub mod auth {
        pub use coreloop_auth_api::v1;
    }
    /// What facts share with the contract of notification.
    pub mod notification {
        pub use coreloop_notification_api::v1;
    }
    /// What facts share with the contract of rewards.
    pub mod rewards {
        pub use coreloop_rewards_api::v1;
    }
    /// What facts share with the contract of scan.
    pub mod scan {
        pub use coreloop_scan_api::v1;
    }
    /// What facts share with the contract of shop.
    pub mod shop {
        pub use coreloop_shop_api::v1;
    }
    /// What facts share with the contract of wallet.
    pub mod wallet {
        pub use coreloop_wallet_api::v1;
    }
    /// Facts.
    pub mod event {
        /// Facts, version 1.
        #[allow(
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::pedantic,
            clippy::allow_attributes_without_reason,
            reason = "generated"
        )]
        #[rustfmt::skip]
        pub mod v1 {
            include!("gen/coreloop.event.v1.rs");
        }
    }
}

pub use acts::{Act, Acts};
pub use coreloop::event::v1;
