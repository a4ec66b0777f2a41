//! The parts of HTTP: queries, replies, and what browsers ask.

pub(crate) mod cors;
pub(crate) mod query;
pub(crate) mod reply;
