//! What every engine must do, directories in which not everything is as it should be, and nodes of a mesh.

#![allow(clippy::unwrap_used)]

mod contract;
mod directory;
mod mesh;
mod support;
