//! A storage in memory, which ends with the process.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Change, Storage, StorageError};

/// A storage in memory, for tests in which one server ends and another continues with its data.
#[derive(Default)]
pub struct Memory(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Memory {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    fn pairs(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Memory {
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StorageError> {
        for (key, value) in &*self.pairs() {
            each(key, value);
        }
        Ok(())
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StorageError> {
        let mut pairs = self.pairs();
        for change in changes {
            match change {
                Change::Put { key, value } => {
                    pairs.insert(key.clone(), value.clone());
                }
                Change::Remove { from, to } => {
                    let mut rest = pairs.split_off(from);
                    let mut kept = if to > from { rest.split_off(to) } else { rest };
                    pairs.append(&mut kept);
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("pairs", &self.pairs().len()).finish()
    }
}
