//! Where a device is stored.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use crate::{Result, sync::lock};

/// Stores a device between the runs of the program (RSH3). The content is a few hundred bytes, which contain secrets: let
/// nobody but the program read them.
///
/// The methods may block: they run on a thread for blocking work, and never two of them at once. One program at a time
/// uses a storage.
///
/// ```
/// use std::{collections::HashMap, sync::Mutex};
/// use capably::{Result, push::PushStorage};
///
/// /// The key chain of a platform.
/// #[derive(Debug, Default)]
/// struct KeyChain(Mutex<HashMap<&'static str, Vec<u8>>>);
///
/// impl PushStorage for KeyChain {
///     fn load(&self) -> Result<Option<Vec<u8>>> {
///         Ok(self.0.lock().unwrap().get("push device").cloned())
///     }
///
///     fn store(&self, content: &[u8]) -> Result<()> {
///         self.0.lock().unwrap().insert("push device", content.to_vec());
///         Ok(())
///     }
/// }
/// ```
pub trait PushStorage: fmt::Debug + Send + Sync + 'static {
    /// What was stored last; `None` before anything was.
    ///
    /// # Errors
    /// If it cannot be read now. The call that needs it fails with this error, and nothing is discarded. Content that can
    /// be read, but has another form, is no error: it is discarded (RSH8a1).
    fn load(&self) -> Result<Option<Vec<u8>>>;

    /// Stores the content, as a whole: after a crash [`load`](Self::load) returns this content or the one before.
    ///
    /// # Errors
    /// If it cannot be stored. The calls that wait fail with this error.
    fn store(&self, content: &[u8]) -> Result<()>;
}

/// A storage in memory, for tests and for devices that live as long as the process. A clone is the same storage.
#[derive(Clone, Default)]
pub struct MemoryPushStorage {
    content: Arc<Mutex<Option<Vec<u8>>>>,
}

impl MemoryPushStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }
}

impl PushStorage for MemoryPushStorage {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        Ok(lock(&self.content).clone())
    }

    fn store(&self, content: &[u8]) -> Result<()> {
        *lock(&self.content) = Some(content.to_vec());
        Ok(())
    }
}

impl fmt::Debug for MemoryPushStorage {
    /// The content has secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = lock(&self.content).as_ref().map(Vec::len);
        f.debug_struct("MemoryPushStorage").field("length", &length).finish()
    }
}
