//! What every engine must do.

#![allow(clippy::unwrap_used)]

mod contract;
