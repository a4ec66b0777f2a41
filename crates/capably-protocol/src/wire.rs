//! What types write themselves with, and payloads in serde.

mod payload;
mod writer;

pub(crate) use writer::{Write, Writer};
