//! Push activation: the program becomes a push device, and stays one over restarts (RSH2 to RSH8).
//!
//! [The guide](crate::guide::push_devices) explains how to use it, with examples. This page is its design.
//!
//! | to | see |
//! |---|---|
//! | become a device, or stop being one | [`Push::activate`], [`Push::deactivate`] |
//! | configure the device | [`PushOptions`], [`ClientOptions::push`](crate::ClientOptions::push) |
//! | give the device the token of its platform | [`PushTransport`], [`Push::update_recipient`] |
//! | choose where the device is stored | [`FilePushStorage`], [`MemoryPushStorage`], [`PushStorage`] |
//! | read the device | [`Push::device`] |
//! | receive the notifications of channels | [`PushChannel`](crate::rest::PushChannel) |
//! | send notifications to devices | [`rest::push`](crate::rest::push) |
//!
//! # Parts
//!
//! The pure machine is [`capably_core::push::PushActivation`]. Calls are commands to an [episode](#episodes), which has
//! the machine, the storage, and the request under way:
//!
//! ```text
//! activate, deactivate, … ─► episode: load ─► PushActivation ─► store ─► requests, results of calls
//!                                                  ▲                        │
//!                                                  └─── results ────────────┘
//! ```
//!
//! # Episodes
//!
//! An episode is a task that runs while there is something to do. It loads what is stored, and ends when no request is
//! under way. So the storage always has the truth, and a restart is nothing special. The episodes of all clients that
//! share the options run one after the other. An episode does not depend on the calls that wait for it: a call that is
//! dropped takes nothing back. If the runtime of an episode ends, the calls of other runtimes begin a new one.
//!
//! After each input the device is stored, and only then a request is made. So a crash at any point loses nothing: the
//! next process makes the interrupted request again. If the storage fails, the waiting calls end with its error, and the
//! next call goes on from what was stored before.
//!
//! # Time limits
//!
//! HTTP requests have the limits of the client's options. What the program provides, the transport and the callbacks, has
//! the limit [`PushOptions::callback_timeout`]. So every call ends.

mod activate;
mod episode;
mod file;
mod options;
mod requests;
mod storage;
mod transport;

pub use capably_core::push::LocalDevice;
pub use file::FilePushStorage;
pub use options::PushOptions;
pub use storage::{MemoryPushStorage, PushStorage};
pub use transport::PushTransport;

pub(crate) use activate::PushDevice;

#[doc(inline)]
pub use crate::rest::{Push, PushRecipient};
