//! Parts of a client that are only there if it is given them (PC).
//!
//! There is one so far: what applies deltas. On a channel with the parameter `delta=vcdiff` the service sends,
//! instead of a message's payload, how it differs from the payload before. A client that asks for this needs
//! a [`VcdiffDecoder`]: [`Vcdiff`], or one of its own. The page on [deltas](crate::guide::deltas) says more.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

pub use capably_core::{DeltaError, VcdiffDecoder};
use capably_protocol::vcdiff;

use crate::ClientOptions;

/// A plugin, by what it is for (PT1).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Plugin {
    /// Applies deltas (PT2a, PC3).
    Vcdiff(Arc<dyn VcdiffDecoder>),
}

impl Plugin {
    /// A plugin that applies deltas (PC3).
    pub fn vcdiff(decoder: impl VcdiffDecoder + 'static) -> Self {
        Self::Vcdiff(Arc::new(decoder))
    }
}

impl ClientOptions {
    /// Gives the client a plugin; it takes the place of one for the same purpose (TO3o).
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

/// The decoder that comes with the SDK. It understands everything in RFC 3284 but secondary compression and
/// code tables of the sender's own, and checks checksums where there are any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vcdiff;

/// The most that a delta may make, in bytes: as much as the largest frame that a client takes by default.
const MAX_SIZE: usize = 16 * 1024 * 1024;

impl VcdiffDecoder for Vcdiff {
    fn decode(&self, delta: &[u8], base: &[u8]) -> Result<Vec<u8>, DeltaError> {
        Ok(vcdiff::decode(delta, base, MAX_SIZE)?)
    }
}

/// The decoder, with panics as errors: a user's must not end the client.
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
