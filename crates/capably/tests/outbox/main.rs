//! The durable outbox with the embedded server: nothing accepted is lost, nothing is twice, and the order is kept.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod delivering;
mod limits;
mod once;
mod refusals;
mod scene;
mod stores;
