//! The objects of a [`Service`](super::Service).

use std::collections::BTreeMap;

use super::{reads::Reader, service::Service};
use crate::{
    engine::{Direction, Kind, Range},
    hub::{ObjectView, Position, Records, StoredObjects, ViewForm, access::identity::Identity},
};

impl Service {
    /// The keys of the root map of a channel, with their values as texts. `None` if the channel is not in memory.
    pub fn objects(&self, channel: &str) -> Option<BTreeMap<String, String>> {
        let identity = Identity::of_key(self.app_key(), None).ok()?;
        let form = ViewForm::Compact;
        let view = self.app.object_view(&identity, channel, None, "", form).ok()?;
        let ObjectView::Map(entries) = view else { return None };
        let entries = entries.into_iter().map(|(name, value)| {
            let value = match value {
                ObjectView::Number(number) => number.to_string(),
                ObjectView::Text(text) => text.to_string(),
                other => format!("{other:?}"),
            };
            (name.to_string(), value)
        });
        Some(entries.collect())
    }
}

impl Reader<'_> {
    /// The objects up to `last`, from all their entries.
    pub(super) fn objects(&self, last: Position) -> StoredObjects {
        let range = Range {
            after: Position(0),
            until: last,
            kind: Some(Kind::Objects),
            direction: Direction::Forwards,
            limit: usize::MAX,
            max_bytes: usize::MAX,
        };
        let entries = self.engine.read(&self.name, &range);
        let later = Records::read(&self.name, entries).into_proposals();
        StoredObjects { snapshot: None, later }
    }
}
