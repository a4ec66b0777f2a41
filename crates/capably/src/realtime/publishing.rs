//! Publishing messages, and changing published messages.

mod mutation;
mod publish;
mod receipts;
mod window;

pub use mutation::{ChangeReceipt, MessageChange};
pub use publish::{MessagePublish, Receipt};
pub(crate) use receipts::{ReceiptId, ReceiptTable, Settlement};
pub(crate) use window::PublishWindow;
