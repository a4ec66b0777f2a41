//! What every engine must do, and directories in which not everything is as it should be.

#![allow(clippy::unwrap_used)]

mod contract;
mod directory;
mod support;
