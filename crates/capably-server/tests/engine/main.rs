//! The contract of every engine, and damaged or foreign directories of the disk engine.

#![allow(clippy::unwrap_used)]

mod contract;
mod directory;
mod support;
