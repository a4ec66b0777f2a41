//! Messages: publishing, changing and annotating them.

pub(super) mod annotation;
pub(super) mod arrivals;
pub(super) mod change;
pub(crate) mod ephemeral;
pub(super) mod publish;
pub(super) mod summary;
