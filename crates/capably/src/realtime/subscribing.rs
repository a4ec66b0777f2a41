//! Subscriptions of a channel: to messages, presence and annotations.

pub(crate) mod annotations;
pub(crate) mod fill;
pub(crate) mod filter;
pub(crate) mod gap;
pub(crate) mod implicit_attach;
mod messages;
pub(crate) mod presence;
pub(crate) mod queue;
pub(crate) mod subscribers;

pub use filter::MessageFilter;
pub use gap::Gap;
pub use messages::{Subscribe, Subscription, SubscriptionEvent};
pub use queue::Overflow;
