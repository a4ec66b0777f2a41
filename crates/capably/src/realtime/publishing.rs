//! Publishing messages, and changing those that were published.

pub(crate) mod mutation;
pub(crate) mod publish;

pub use mutation::{ChangeMessage, ChangeReceipt};
pub use publish::{Publish, Receipt};
