//! The objects of a [`Service`](super::Service).

use std::collections::BTreeMap;

use super::service::Service;
use crate::hub::{ObjectView, ViewForm, access::identity::Identity};

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
