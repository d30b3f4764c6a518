//! My: what a user has come to, and what they are to others (chapter 02).
//!
//! **What it owns.** The schema `my`: the history of each user (scans that counted, characters, badges, changes of the profile), what
//! it came to by UTC day, the profile, preferences, and who follows whom; in Redis `my:summary:{user}`.
//!
//! **What it promises.**
//! * *What is heard counts once, whatever the order.* A scan is one by its task, for ever ([`counting`]); a row of days is made of the
//!   set of days, not of what was heard last ([`streak`]). Figures, history and facts are one transaction, under the lock of the user's row.
//! * *What counted stays as it counted.* What a recycling is worth is written down with it: other settings change what comes, not what was.
//! * *Everything that was counted can be made anew* of the history, while the old serves ([`rebuilding`]), and is held to it
//!   ([`integrity`]).
//! * *A summary answers with what it has* ([`summary`]) and names what is not of now.
//! * *A profile is one.* It is changed here alone; auth, which shows the name with the account, is told until it knows ([`telling`]).
//! * *Others see what is public* ([`grpc::users`]), the owner too when they look there.
//! * *A closed account stays closed*: nothing is left but its number, and what is heard late finds that ([`leaving`]).
//!
//! **What was rejected.** A counter that is raised as days come (out of order it is wrong for good); a table for the timeline (the history
//! is it); names and texts in facts or in the history (neither can be deleted); asking auth for names at every look (a list of followers
//! would be as often away as auth); a profile that auth owns and my asks to change (two services would have to agree in one call).

pub mod app;
pub mod badges;
pub mod cache;
pub mod changing;
pub mod collecting;
pub mod counting;
pub mod error;
pub mod grpc;
pub mod hearing;
pub mod integrity;
pub mod leaving;
pub mod mask;
pub mod metrics;
pub mod module;
pub mod options;
pub mod peers;
pub mod person;
pub mod profiles;
pub mod rebuilding;
pub mod store;
pub mod streak;
pub mod summary;
pub mod telling;
pub mod times;
pub mod visiting;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
