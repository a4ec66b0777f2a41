//! Ably LiveObjects as plain data: maps and counters that several sites change at once, and that converge.
//!
//! Client and server both use this crate. It does no I/O, reads no clock and needs no runtime; it compiles for
//! `wasm32-unknown-unknown`. The time and random bytes are arguments.
//!
//! ```
//! use capably_objects::{LiveCounter, LiveMap, NewIds, Objects, ObjectsEvent, Path, PublishId, SubscriptionId, set};
//!
//! let now = 1_700_000_000_000;
//! let mut objects = Objects::new("polls");
//! let mut events = Vec::new();
//! // The channel was attached, and has no objects yet.
//! objects.attached(false, now, &mut events);
//!
//! // Watch everything below `tea`, and make a poll. `set` gives the messages to publish.
//! objects.subscribe_path(SubscriptionId(1), Path::parse("tea"), None)?;
//! let poll = LiveMap::new().with("yes", LiveCounter::default()).with("no", LiveCounter::default());
//! let mut next = 0_u128;
//! let mut ids = NewIds::new(now, || { next += 1; next.to_be_bytes() }); // A real caller takes random bytes.
//! let messages = set("root", "tea", poll, &mut ids)?;
//!
//! // The service acknowledged them with a serial for each: they are applied.
//! let serials: Vec<_> = (0..messages.len()).map(|at| Some(format!("0{at}").into())).collect();
//! objects.acknowledged(PublishId(1), messages, &serials, Some(&"eu".into()), now, &mut events);
//! assert!(events.iter().any(|event| matches!(event, ObjectsEvent::PathChanged { .. })));
//! let tea = objects.pool().resolve(&Path::parse("tea")).map(|tea| tea.compact_json());
//! assert_eq!(tea, Some(serde_json::json!({ "no": 0, "yes": 0 })));
//! # Ok::<(), capably_protocol::ErrorInfo>(())
//! ```
//!
//! # How the parts fit
//!
//! | part | for |
//! |---|---|
//! | [`ObjectsPool`] | the objects of a channel: [`apply`](ObjectsPool::apply) an operation, [`replace`](ObjectsPool::replace) them by states, list their [`states`](ObjectsPool::states), [`collect`](ObjectsPool::collect) what was deleted |
//! | [`Update`], [`Change`] | what an operation or a state changed |
//! | [`ValueRef`], [`MapRef`], [`CounterRef`], [`Compact`] | reading a pool by key, by [`Path`], by id, or whole |
//! | [`set`], [`remove`], [`clear`], [`increment`] | the messages of operations, from [`LiveValue`], [`LiveMap`] and [`LiveCounter`] |
//! | [`Draft`] | operations that are published together, and refer to what they make |
//! | [`Objects`] | a client's side of a channel: syncs, buffered operations, publishes, subscriptions |
//! | [`ObjectId`], [`check_received`] | ids of objects, and a server's check of an operation |
//!
//! A server keeps an [`ObjectsPool`] per channel, and applies each operation that passes [`check_received`]. A client keeps [`Objects`],
//! which own a pool and are driven by the channel's frames.
//!
//! # Why replicas agree
//!
//! The service gives each operation a serial, and the serials of a site grow. An object keeps the last serial of each
//! site, so it applies each operation once, and in the order of its site. Between sites the order does not matter: sums of
//! a counter commute, and for a key of a map the operation with the latest serial wins, whichever arrives last. Removed
//! keys and deleted objects are kept for a grace period with their serial or their mark, so that a late operation does not
//! bring them back.

mod compact;
mod draft;
mod entry;
mod errors;
mod id;
mod index;
mod message;
mod object;
mod objects;
mod operation;
mod path;
mod pool;
mod read;
mod received;
mod serial;
mod sites;
mod sorted;
mod subscriptions;
mod sync;
#[cfg(test)]
mod test_pool;
mod update;
#[cfg(test)]
mod uts;
mod value;

pub use compact::Compact;
pub use draft::Draft;
pub use id::{ObjectId, ObjectIdError, ObjectType, ROOT};
pub use message::OperationMessage;
pub use objects::{Objects, ObjectsEvent, PublishId, SubscriptionId, SyncState};
pub use operation::{NewIds, clear, increment, remove, set};
pub use path::Path;
pub use pool::{DEFAULT_GRACE_PERIOD, Ignored, ObjectsPool, Source};
pub use read::{CounterRef, MapRef, ValueRef};
pub use received::check_received;
pub use update::{Change, KeyChange, Update};
pub use value::{LiveCounter, LiveMap, LiveValue};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
