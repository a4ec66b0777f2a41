//! Optional parts of a client (PC).
//!
//! There is one plugin so far: a decoder for deltas. On a channel with the parameter `delta=vcdiff` the service sends
//! the difference to the previous payload instead of a whole payload. A client that requests this needs a
//! [`VcdiffDecoder`]:
//! [`Vcdiff`], or your own. See the page about [deltas](crate::guide::deltas).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

pub use capably_core::{DeltaError, VcdiffDecoder};
use capably_protocol::vcdiff;

use crate::ClientOptions;

/// A plugin, by its purpose (PT1).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Plugin {
    /// Applies deltas (PT2a, PC3).
    Vcdiff(Arc<dyn VcdiffDecoder>),
}

impl Plugin {
    /// Makes a plugin that applies deltas (PC3).
    pub fn vcdiff(decoder: impl VcdiffDecoder + 'static) -> Self {
        Self::Vcdiff(Arc::new(decoder))
    }
}

impl ClientOptions {
    /// Adds a plugin. It replaces a plugin with the same purpose (TO3o).
    ///
    /// ```
    /// use capably::{ClientOptions, Plugin, plugin::Vcdiff};
    ///
    /// let options = ClientOptions::new("app.key:secret").plugin(Plugin::vcdiff(Vcdiff));
    /// ```
    #[must_use]
    pub fn plugin(mut self, plugin: Plugin) -> Self {
        match plugin {
            Plugin::Vcdiff(decoder) => self.vcdiff = Some(decoder),
        }
        self
    }
}

/// The SDK's decoder. It supports RFC 3284 without secondary compression and application-defined code tables, and
/// verifies checksums if the delta has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vcdiff;

/// The largest result of a delta, in bytes: the size of the largest frame that a client reads by default.
const MAX_SIZE: usize = 16 * 1024 * 1024;

impl VcdiffDecoder for Vcdiff {
    fn decode(&self, delta: &[u8], base: &[u8]) -> Result<Vec<u8>, DeltaError> {
        Ok(vcdiff::decode(delta, base, MAX_SIZE)?)
    }
}

/// Converts panics of a decoder into errors: a decoder of the program must not end the driver.
pub(crate) fn guarded(decoder: Arc<dyn VcdiffDecoder>) -> Arc<dyn VcdiffDecoder> {
    Arc::new(Guarded(decoder))
}

#[derive(Debug)]
struct Guarded(Arc<dyn VcdiffDecoder>);

impl VcdiffDecoder for Guarded {
    fn decode(&self, delta: &[u8], base: &[u8]) -> Result<Vec<u8>, DeltaError> {
        catch_unwind(AssertUnwindSafe(|| self.0.decode(delta, base)))
            .unwrap_or_else(|_| Err("the decoder panicked".into()))
    }
}
