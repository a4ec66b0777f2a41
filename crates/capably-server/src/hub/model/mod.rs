//! Models of the hub's surroundings, for simulations in virtual time: an engine, the reads of the front, and the front itself.

#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the clusters of the hub's tests need more than a service does")
)]
pub(super) mod engine;
#[cfg(feature = "sim")]
mod objects;
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the clusters of the hub's tests need more than a service does")
)]
pub(super) mod reads;
#[cfg(feature = "sim")]
mod service;
#[cfg(feature = "sim")]
mod store;

#[cfg(feature = "sim")]
pub use self::{
    service::{Committed, Limits, Moment, Service, Size, Written},
    store::Store,
};
