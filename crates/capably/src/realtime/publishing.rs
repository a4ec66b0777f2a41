//! Publishing messages, and changing published messages.

mod mutation;
mod publish;
mod receipts;
mod spare;
mod window;

pub use mutation::{ChangeReceipt, MessageChange};
pub use publish::{MessagePublish, Receipt};
pub(crate) use receipts::{ReceiptId, ReceiptTable, Settlement};
pub(crate) use spare::SpareMessages;
pub(crate) use window::PublishWindow;
