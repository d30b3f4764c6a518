//! What users have come to: counted once from what others tell, whatever the order; what they are to others (chapter 02).

mod away;
mod badges;
mod closing;
mod counting;
mod follows;
mod interrupted;
mod preferences;
mod profile;
mod rebuilding;
mod refusing;
pub mod stage;
mod streaks;
mod summary;
mod timeline;
mod users;
