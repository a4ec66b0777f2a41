//! Entries that cannot be read: they are left out, and reported once.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use capably_protocol::Str;

use crate::hub::Position;

/// The most entries that are remembered. With more, some are reported again.
const MAX_REPORTED: usize = 1000;

/// The entries that were reported.
#[derive(Debug, Default)]
pub(super) struct Damage(Mutex<BTreeSet<(Str, Position)>>);

impl Damage {
    /// Reports an entry, if it was not reported before. Returns whether it was not.
    pub(super) fn report(&self, app: &str, channel: &str, position: Position, why: &str) -> bool {
        {
            let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = (Str::from(channel), position);
            if reported.contains(&entry) {
                return false;
            }
            if reported.len() >= MAX_REPORTED {
                reported.clear();
            }
            reported.insert(entry);
        }
        tracing::error!(app, channel, position = position.0, why, "an entry is left out");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_reported_once_and_not_all_are_remembered() {
        let damage = Damage::default();
        assert!(damage.report("app", "a", Position(1), "why"));
        assert!(!damage.report("app", "a", Position(1), "why"));
        assert!(damage.report("app", "b", Position(1), "why"));
        for position in 2..5000 {
            assert!(damage.report("app", "a", Position(position), "why"));
            assert!(!damage.report("app", "a", Position(position), "why"));
        }
        assert!(damage.0.lock().unwrap().len() <= MAX_REPORTED);
    }
}
