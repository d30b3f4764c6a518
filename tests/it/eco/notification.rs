//! Notifications: what happened is told once, in the reader's language, and pushed to their devices through the sandbox's FCM (chapter 02).

mod away;
mod closing;
mod devices;
mod failing;
mod interrupted;
mod preferring;
mod pushing;
mod quiet;
mod reading;
mod refusing;
mod saga;
mod sealing;
pub mod stage;
mod telling;
