//! Images: photos of users, from the promise of a place to send one to the fact that it is there (chapter 02).
//!
//! **What it owns.** The schema `image`: which photos there are and whose; their history; the objects in storage under
//! `uploads/`.
//!
//! **What it promises.**
//! * *No bytes of a photo pass through a call.* An app is told where to PUT them ([`uploads`]): the address is signed for one object, one
//!   type, one length and one user, and is good for fifteen minutes.
//! * *What is registered is there, of its owner, and as announced* ([`registering`]): storage is asked before anything is written.
//! * *An upload is one image.* The object's key holds the image's id, which is the primary key; the same registration again answers
//!   the same image, and one that was removed is never another.
//! * *What is removed goes*, object and row, whatever is killed in between ([`removing`]): it is marked and told in one transaction,
//!   and whoever hears that removes it, as often as events are tried; what storage refuses to the end is a dead letter, which is
//!   removed when it is reprocessed.
//! * *Whoever closes their account leaves no image*: all are removed, and none is registered beside that.
//! * *Where somebody was is theirs*: gps stands in the row alone and leaves with it.
//! * *A photo has smaller copies, or it is said why not* ([`processing`], [`thumbnails`]): one worker loads it, one at a time, and knows
//!   its bounds before it decodes; what is no picture is written down as such and not tried again. Copies go with their image.
//! * *What is sent and never registered goes* ([`sweeping`]): each place that is signed is noted, and the note goes in the transaction
//!   that registers.
//!
//! **What was rejected.** The pending upload as the truth (Redis may forget it: what storage was signed to accept says the same);
//! an id of the image apart from that of the object (two registrations at once would be two images until a second unique column
//! says no); a list of all objects beside all rows to find what nobody registered (a database that came back from a backup, or the
//! wrong one, would empty the bucket); removing the object inside the call (storage that is away would keep the photo for ever or lose its row); a look
//! whether the account is closed before writing (a registration that is under way would be missed: both take the owner's row).

pub mod analysis;
pub mod app;
pub mod error;
pub mod grpc;
pub mod history;
pub mod integrity;
pub mod key;
pub mod leaving;
pub mod metrics;
pub mod module;
pub mod options;
pub mod pending;
pub mod processing;
pub mod recent;
pub mod registering;
pub mod removing;
pub mod signed;
pub mod storage;
pub mod store;
pub mod sweeping;
pub mod thumbnails;
pub mod times;
pub mod uploads;

pub use app::App;
pub use error::Error;
pub use module::{MIGRATIONS, module};
pub use options::Options;
