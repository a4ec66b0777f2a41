//! Webhooks: the server reports events of channels to HTTP endpoints.
//!
//! A [`Rule`] names a [`Source`] of events, the channels, and the endpoint. Rules belong to an app. [`Builder::webhook_rules`]
//! gives rules to the first app; `POST /apps/{appId}/rules` and the member `rules` of `POST /apps` create them while the
//! server runs, and `PATCH /apps/{appId}/rules/{id}` changes one. Their JSON is that of the service's control API.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use capably_server::{
//!     Server,
//!     webhooks::{RequestMode, Rule, Source},
//! };
//!
//! let rule = Rule::new(Source::Message, "http://127.0.0.1:9/hook")
//!     .channel_filter("^chat:")
//!     .request_mode(RequestMode::Batch);
//! let server = Server::builder().webhook_rules([rule]).start().await?;
//! # server.shutdown().await;
//! # Ok::<_, capably_server::ServerError>(())
//! # }).unwrap();
//! ```
//!
//! # Delivery
//!
//! An event is delivered at least once. Those of one channel are delivered in their order: the next begins when the one before
//! has been accepted or given up. Events that may come twice have ids: that of a message, and the `serial` of an item of a batch.
//! An answer with a 2xx status accepts an event. Redirects are not followed.
//!
//! | | [`Single`](RequestMode::Single) | [`Batch`](RequestMode::Batch) |
//! |---|---|---|
//! | a request has | one message, member or other event | up to 1,000 events |
//! | requests at a time | 25, one for each channel | 1 |
//! | repeated | twice, after 4 s and 20 s, if the endpoint cannot be reached, is late, or answers with 5xx or 429 | until it is accepted, after 1.4 s, 2 s, 2.8 s and so on, 60 s at most |
//! | given up | after the third attempt, at once for another status | when the event has waited for 5 minutes |
//!
//! Events that were given up are in the rule's list of dead letters, the newest 1,000 of them, which ends with the process. The
//! events that wait for an endpoint take no more than [`Builder::webhook_queue`]: beyond that, the oldest are given up.
//!
//! With an [engine](crate::engine) of one server, messages and presence events that were not delivered when the server ended
//! are delivered by the next one. In a cluster, the node that a message was published at delivers it.
//!
//! [`Builder::webhook_rules`]: crate::Builder::webhook_rules
//! [`Builder::webhook_queue`]: crate::Builder::webhook_queue

mod error;
mod json;
mod rule;

pub use self::{
    error::RuleError,
    rule::{RequestMode, Rule, Source},
};
