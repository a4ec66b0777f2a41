//! A turn: one call into the hub.

use super::{Now, Output, Settings};

/// The context of one call into the hub: its time, the settings of the app, and the outputs of the call.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a Settings,
    /// In the order in which the front carries them out.
    pub(crate) outputs: &'a mut Vec<Output>,
}
