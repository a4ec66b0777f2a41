//! REST: one file a resource.

pub(crate) mod annotations;
pub(crate) mod apps;
pub(crate) mod batch;
pub(crate) mod channels;
pub(crate) mod form;
pub(crate) mod messages;
pub(crate) mod page;
pub(crate) mod push;
pub(crate) mod stats;
pub(crate) mod tokens;
