//! Summaries of a message's annotations, by their type (TM7).

use std::collections::BTreeMap;

use capably_protocol::{Annotation, AnnotationAction, Str};
use serde_json::{Value, json};

use super::arrivals::Arrivals;

/// The method by which annotations of a type are summarized. It is the last part of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// The number of annotations.
    Total,
    /// The clients with an annotation.
    Flag,
    /// The clients with an annotation, by its name.
    Distinct,
    /// The clients with an annotation, by its name. A client counts for its latest name only.
    Unique,
    /// The sum of the counts of each client, by name.
    Multiple,
}

impl Method {
    /// The method of a type, such as `reaction:distinct.v1`. `None` for a type without a summary.
    pub(crate) fn of(annotation_type: &str) -> Option<Self> {
        match annotation_type.rsplit_once(':')?.1 {
            "total.v1" => Some(Self::Total),
            "flag.v1" => Some(Self::Flag),
            "distinct.v1" => Some(Self::Distinct),
            "unique.v1" => Some(Self::Unique),
            "multiple.v1" => Some(Self::Multiple),
            _ => None,
        }
    }

    /// Whether an annotation needs a client id.
    pub(crate) fn needs_client(self) -> bool {
        matches!(self, Self::Flag | Self::Distinct | Self::Unique)
    }

    /// Whether an annotation of this action needs a name. A removal of `unique` needs none, as a client counts for one
    /// name at most.
    pub(crate) fn needs_name(self, action: Option<AnnotationAction>) -> bool {
        match self {
            Self::Total | Self::Flag => false,
            Self::Distinct | Self::Multiple => true,
            Self::Unique => action != Some(AnnotationAction::Delete),
        }
    }
}

/// The summaries of one message.
#[derive(Debug, Default)]
pub(crate) struct Summaries(BTreeMap<Str, Summary>);

#[derive(Debug)]
enum Summary {
    Total(u64),
    Flag(Clients),
    Distinct(BTreeMap<Str, Clients>),
    Unique(BTreeMap<Str, Clients>),
    Multiple(BTreeMap<Str, Counts>),
}

type Clients = Arrivals<()>;

#[derive(Debug, Default)]
struct Counts {
    clients: Arrivals<u64>,
    unidentified: u64,
}

/// The approximate size of a type or a name without its text and its clients, in bytes.
const OVERHEAD: usize = 100;

/// The approximate size of a client without its id, in bytes.
const CLIENT_OVERHEAD: usize = 8;

impl Summaries {
    /// Applies an annotation to the summary of its type. Returns whether the type has one.
    pub(crate) fn fold(&mut self, annotation: &Annotation) -> bool {
        let Some((annotation_type, method)) = typed(annotation) else { return false };
        let summary = self.0.entry(annotation_type.clone()).or_insert_with(|| Summary::new(method));
        if annotation.action == Some(AnnotationAction::Delete) {
            summary.take_out(annotation);
        } else {
            summary.add(annotation);
        }
        true
    }

    /// The approximate size of the summaries with these annotations, without clients, in bytes.
    pub(crate) fn size_with<'a>(
        &self,
        annotations: impl IntoIterator<Item = &'a Annotation>,
    ) -> usize {
        let new = annotations.into_iter().filter_map(|annotation| {
            let (annotation_type, _) = typed(annotation)?;
            let name = annotation.name.as_deref().unwrap_or_default();
            let removes = annotation.action == Some(AnnotationAction::Delete);
            let known = self.0.get(annotation_type);
            let known = known.is_some_and(|summary| removes || summary.has_name(name));
            (!known).then(|| annotation_type.len() + name.len() + 2 * OVERHEAD)
        });
        self.size(0) + new.sum::<usize>()
    }

    /// The summaries by type. Lists of clients are clipped so that all summaries have about `max_size` bytes at most.
    pub(crate) fn to_values(&self, max_size: usize) -> BTreeMap<String, Value> {
        let mut clients = self.0.values().map(Summary::most_clients).max().unwrap_or(0);
        while clients > 0 && self.size(clients) > max_size {
            clients /= 2;
        }
        let values = self.0.iter();
        values.map(|(name, summary)| (name.to_string(), summary.to_value(clients))).collect()
    }

    /// The approximate size of the summaries with at most so many clients in a list, in bytes.
    fn size(&self, clients: usize) -> usize {
        let mut size = 0;
        for (name, summary) in &self.0 {
            size += OVERHEAD + name.len();
            summary.each_list(|name, ids| {
                let ids = ids.take(clients).map(|id| id.len() + CLIENT_OVERHEAD);
                size += OVERHEAD + name.len() + ids.sum::<usize>();
            });
        }
        size
    }
}

/// The type of the annotation and its method.
fn typed(annotation: &Annotation) -> Option<(&Str, Method)> {
    let annotation_type = annotation.annotation_type.as_ref()?;
    Some((annotation_type, Method::of(annotation_type)?))
}

impl Summary {
    fn new(method: Method) -> Self {
        match method {
            Method::Total => Self::Total(0),
            Method::Flag => Self::Flag(Clients::default()),
            Method::Distinct => Self::Distinct(BTreeMap::new()),
            Method::Unique => Self::Unique(BTreeMap::new()),
            Method::Multiple => Self::Multiple(BTreeMap::new()),
        }
    }

    fn add(&mut self, annotation: &Annotation) {
        let name = annotation.name.clone().unwrap_or_default();
        let client = annotation.client_id.clone();
        match (self, client) {
            (Self::Total(total), _) => *total = total.saturating_add(1),
            (Self::Flag(clients), Some(client)) => *clients.entry(client) = (),
            (Self::Distinct(names), Some(client)) => {
                *names.entry(name).or_default().entry(client) = ();
            }
            (Self::Unique(names), Some(client)) => {
                // A client that votes for the same name again keeps its place.
                remove(names, &client, |other| *other != name);
                *names.entry(name).or_default().entry(client) = ();
            }
            (Self::Multiple(names), client) => {
                let counts = names.entry(name).or_default();
                let count = match client {
                    Some(client) => counts.clients.entry(client),
                    None => &mut counts.unidentified,
                };
                *count = count.saturating_add(annotation.count.unwrap_or(1));
            }
            (Self::Flag(_) | Self::Distinct(_) | Self::Unique(_), None) => {}
        }
    }

    fn take_out(&mut self, annotation: &Annotation) {
        let named = annotation.name.as_ref().filter(|name| !name.is_empty());
        let name = annotation.name.as_deref().unwrap_or_default();
        let client = annotation.client_id.as_deref();
        match (self, client) {
            (Self::Total(total), _) => *total = total.saturating_sub(1),
            (Self::Flag(clients), Some(client)) => clients.remove(client),
            (Self::Distinct(names), Some(client)) => remove(names, client, |it| **it == *name),
            (Self::Unique(names), Some(client)) => {
                remove(names, client, |it| named.is_none_or(|named| it == named));
            }
            (Self::Multiple(names), Some(client)) => {
                if let Some(counts) = names.get_mut(name) {
                    counts.clients.remove(client);
                    if counts.clients.is_empty() && counts.unidentified == 0 {
                        names.remove(name);
                    }
                }
            }
            // The counts of clients without an id are added up: one client's share cannot be removed.
            (Self::Flag(_) | Self::Distinct(_) | Self::Unique(_) | Self::Multiple(_), None) => {}
        }
    }

    fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Total(_) | Self::Flag(_) => true,
            Self::Distinct(names) | Self::Unique(names) => names.contains_key(name),
            Self::Multiple(names) => names.contains_key(name),
        }
    }

    /// Calls `show` with every list of clients and its name.
    fn each_list(&self, mut show: impl FnMut(&str, &mut dyn Iterator<Item = &Str>)) {
        match self {
            Self::Total(_) => {}
            Self::Flag(clients) => show("", &mut clients.clients()),
            Self::Distinct(names) | Self::Unique(names) => {
                names.iter().for_each(|(name, clients)| show(name, &mut clients.clients()));
            }
            Self::Multiple(names) => {
                names.iter().for_each(|(name, counts)| show(name, &mut counts.clients.clients()));
            }
        }
    }

    fn most_clients(&self) -> usize {
        let mut most = 0;
        self.each_list(|_, ids| most = most.max(ids.count()));
        most
    }

    fn to_value(&self, max_clients: usize) -> Value {
        match self {
            Self::Total(total) => json!({ "total": total }),
            Self::Flag(clients) => list_value(clients, max_clients),
            Self::Distinct(names) | Self::Unique(names) => names
                .iter()
                .map(|(name, clients)| (name.to_string(), list_value(clients, max_clients)))
                .collect(),
            Self::Multiple(names) => names
                .iter()
                .map(|(name, counts)| (name.to_string(), counts.to_value(max_clients)))
                .collect(),
        }
    }
}

/// Removes a client from the names for which `from` is true, and names without clients.
fn remove(names: &mut BTreeMap<Str, Clients>, client: &str, from: impl Fn(&Str) -> bool) {
    names.retain(|name, clients| {
        if from(name) {
            clients.remove(client);
        }
        !clients.is_empty()
    });
}

fn list_value(clients: &Clients, max_clients: usize) -> Value {
    let shown: Vec<&str> = clients.clients().take(max_clients).map(|client| &**client).collect();
    let clipped = shown.len() < clients.len();
    let mut value = json!({ "total": clients.len(), "clientIds": shown });
    if clipped {
        value["clipped"] = Value::Bool(true);
    }
    value
}

impl Counts {
    fn to_value(&self, max_clients: usize) -> Value {
        let total =
            self.clients.iter().fold(self.unidentified, |sum, (_, it)| sum.saturating_add(*it));
        let shown = self.clients.iter().take(max_clients);
        let shown: Value =
            shown.map(|(client, count)| (client.to_string(), json!(count))).collect();
        json!({
            "total": total,
            "clientIds": shown,
            "totalUnidentified": self.unidentified,
            "totalClientIds": self.clients.len(),
            "clipped": self.clients.len() > max_clients,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(annotation_type: &str, name: &str, client: Option<&str>) -> Annotation {
        Annotation {
            action: Some(AnnotationAction::Create),
            annotation_type: Some(annotation_type.into()),
            name: Some(name.into()),
            client_id: client.map(Str::from),
            ..Annotation::default()
        }
    }

    fn removal(annotation_type: &str, name: &str, client: Option<&str>) -> Annotation {
        let action = Some(AnnotationAction::Delete);
        Annotation { action, ..annotation(annotation_type, name, client) }
    }

    /// The summary of annotations that are all of one type.
    fn summary(annotations: &[Annotation]) -> Value {
        let mut summaries = Summaries::default();
        for annotation in annotations {
            assert!(summaries.fold(annotation));
        }
        let mut values = summaries.to_values(usize::MAX).into_values();
        let value = values.next().unwrap();
        assert_eq!(values.next(), None);
        value
    }

    // Spec: TM7c1, TM7c1a, TM7c1b, TM7d1, TM7d1a, TM7d1b, TM7d1d, TM7d1e, TM7e1, TM7e1a
    #[test]
    fn each_method_has_its_own_summary() {
        let all = |kind: &str| {
            summary(&[
                annotation(kind, "👍", Some("b")),
                annotation(kind, "👍", Some("a")),
                annotation(kind, "👍", Some("a")),
                annotation(kind, "heart", Some("a")),
            ])
        };
        assert_eq!(all("x:total.v1"), json!({"total": 4}));
        assert_eq!(all("x:flag.v1"), json!({"total": 2, "clientIds": ["b", "a"]}));
        assert_eq!(
            all("x:distinct.v1"),
            json!({
                "👍": {"total": 2, "clientIds": ["b", "a"]},
                "heart": {"total": 1, "clientIds": ["a"]},
            })
        );
        assert_eq!(
            all("x:unique.v1"),
            json!({
                "👍": {"total": 1, "clientIds": ["b"]},
                "heart": {"total": 1, "clientIds": ["a"]},
            })
        );
        assert_eq!(
            all("a:b:multiple.v1"),
            json!({
                "👍": {
                    "total": 3, "clientIds": {"a": 2, "b": 1},
                    "totalUnidentified": 0, "totalClientIds": 2, "clipped": false,
                },
                "heart": {
                    "total": 1, "clientIds": {"a": 1},
                    "totalUnidentified": 0, "totalClientIds": 1, "clipped": false,
                },
            })
        );
        for kind in ["com.ably.reactions", "x:total.v2", "total.v1", "x:distinct", ""] {
            assert_eq!(Method::of(kind), None, "{kind}");
        }
    }

    #[test]
    fn clients_are_listed_in_order_of_arrival() {
        for kind in ["x:flag.v1", "x:distinct.v1", "x:unique.v1"] {
            let listed = |annotations: &[Annotation]| {
                let value = summary(annotations);
                if kind == "x:flag.v1" {
                    value["clientIds"].clone()
                } else {
                    value["n"]["clientIds"].clone()
                }
            };
            let mut annotations: Vec<_> =
                ["c", "a", "b"].map(|client| annotation(kind, "n", Some(client))).into();
            assert_eq!(listed(&annotations), json!(["c", "a", "b"]), "{kind}");
            // A client that repeats its annotation keeps its place. A client that annotates again after a removal is
            // the last.
            annotations.push(annotation(kind, "n", Some("c")));
            assert_eq!(listed(&annotations), json!(["c", "a", "b"]), "{kind}");
            annotations.push(removal(kind, "n", Some("a")));
            annotations.push(annotation(kind, "n", Some("a")));
            assert_eq!(listed(&annotations), json!(["c", "b", "a"]), "{kind}");
        }
        let moved = [("n", "c"), ("n", "a"), ("m", "c"), ("n", "c")]
            .map(|(name, client)| annotation("x:unique.v1", name, Some(client)));
        assert_eq!(summary(&moved), json!({"n": {"total": 2, "clientIds": ["a", "c"]}}));
    }

    #[test]
    fn a_unique_annotation_is_removed_without_its_name() {
        let mut annotations = vec![
            annotation("x:unique.v1", "n", Some("b")),
            annotation("x:unique.v1", "n", Some("a")),
            removal("x:unique.v1", "", Some("b")),
        ];
        let left = json!({"n": {"total": 1, "clientIds": ["a"]}});
        assert_eq!(summary(&annotations), left);
        let nameless = Annotation { name: None, ..removal("x:unique.v1", "", Some("nobody")) };
        annotations.push(nameless.clone());
        annotations.push(removal("x:unique.v1", "other", Some("a")));
        assert_eq!(summary(&annotations), left);
        annotations.push(Annotation { client_id: Some("a".into()), ..nameless });
        assert_eq!(summary(&annotations), json!({}));

        let needs_name = |method: Method| {
            [AnnotationAction::Create, AnnotationAction::Delete]
                .map(|action| method.needs_name(Some(action)))
        };
        assert_eq!(needs_name(Method::Unique), [true, false]);
        assert_eq!(needs_name(Method::Distinct), [true, true]);
        assert_eq!(needs_name(Method::Multiple), [true, true]);
        assert_eq!(needs_name(Method::Flag), [false, false]);
        assert_eq!(needs_name(Method::Total), [false, false]);
    }

    #[test]
    fn multiple_counts_are_summed_per_client() {
        let counted =
            |count, client| Annotation { count, ..annotation("x:multiple.v1", "stars", client) };
        let annotations = [
            counted(Some(4), Some("a")),
            counted(None, Some("a")),
            counted(Some(2), None),
            counted(None, None),
            counted(Some(u64::MAX), Some("b")),
            counted(Some(u64::MAX), Some("b")),
            removal("x:multiple.v1", "stars", Some("b")),
            removal("x:multiple.v1", "stars", None),
            removal("x:multiple.v1", "moons", Some("a")),
        ];
        assert_eq!(
            summary(&annotations),
            json!({"stars": {
                "total": 8, "clientIds": {"a": 5},
                "totalUnidentified": 3, "totalClientIds": 1, "clipped": false,
            }})
        );
        assert_eq!(summary(&annotations[4..6])["stars"]["total"], u64::MAX);
        let gone = [annotations[0].clone(), removal("x:multiple.v1", "stars", Some("a"))];
        assert_eq!(summary(&gone), json!({}));
    }

    #[test]
    fn a_removal_removes_only_the_annotations_of_its_client() {
        for (kind, left) in [
            ("x:total.v1", json!({"total": 1})),
            ("x:flag.v1", json!({"total": 1, "clientIds": ["b"]})),
            ("x:distinct.v1", json!({"n": {"total": 1, "clientIds": ["b"]}})),
            ("x:unique.v1", json!({"n": {"total": 1, "clientIds": ["b"]}})),
        ] {
            let mut annotations = vec![
                annotation(kind, "n", Some("a")),
                annotation(kind, "n", Some("b")),
                removal(kind, "n", Some("a")),
            ];
            assert_eq!(summary(&annotations), left, "{kind}");
            annotations.push(removal(kind, "n", Some("b")));
            annotations.push(removal(kind, "n", Some("b")));
            let empty = match kind {
                "x:total.v1" => json!({"total": 0}),
                "x:flag.v1" => json!({"total": 0, "clientIds": []}),
                _ => json!({}),
            };
            assert_eq!(summary(&annotations), empty, "{kind}");
        }
        let other_name =
            [annotation("x:distinct.v1", "n", Some("a")), removal("x:distinct.v1", "m", Some("a"))];
        assert_eq!(summary(&other_name), json!({"n": {"total": 1, "clientIds": ["a"]}}));
    }

    // Spec: TM7c1c, TM7d1c
    #[test]
    fn client_lists_are_clipped_to_the_size_limit() {
        let mut summaries = Summaries::default();
        for number in 0..64 {
            let client = format!("client-{number:03}");
            summaries.fold(&annotation("x:flag.v1", "", Some(&client)));
            summaries.fold(&annotation("x:multiple.v1", "n", Some(&client)));
        }
        summaries.fold(&annotation("x:distinct.v1", "n", Some("one")));
        let length = |value: &Value| serde_json::to_string(value).unwrap().len();
        for max_size in [10_000, 2000, 1000, 100] {
            let values = summaries.to_values(max_size);
            let clipped = max_size < 10_000;
            let flag = &values["x:flag.v1"];
            assert_eq!(flag["total"], 64);
            assert_eq!(flag.get("clipped"), clipped.then_some(&Value::Bool(true)));
            let shown = flag["clientIds"].as_array().unwrap().len();
            let counts = &values["x:multiple.v1"]["n"];
            assert_eq!((&counts["total"], &counts["totalClientIds"]), (&json!(64), &json!(64)));
            assert_eq!(counts["clipped"], clipped);
            assert_eq!(counts["clientIds"].as_object().unwrap().len(), shown);
            let expected = match max_size {
                10_000 => 64,
                2000 => 32,
                1000 => 8,
                _ => 0,
            };
            assert_eq!(shown, expected);
            if max_size > 100 {
                assert_eq!(values["x:distinct.v1"]["n"].get("clipped"), None);
                assert!(length(&json!(values)) <= max_size);
            }
        }
    }

    #[test]
    fn only_a_new_entry_needs_room() {
        let mut summaries = Summaries::default();
        let known = annotation("x:distinct.v1", "n", Some("a"));
        summaries.fold(&known);
        let size = summaries.size_with([]);
        assert!(size > 0);
        assert_eq!(summaries.size_with([&known, &known]), size);
        let new = annotation("x:distinct.v1", "other", Some("a"));
        assert_eq!(summaries.size_with([&new]), size + 13 + 5 + 2 * OVERHEAD);
        let mut removing = removal("x:distinct.v1", "other", Some("a"));
        assert_eq!(summaries.size_with([&removing]), size, "a removal brings no name");
        removing.annotation_type = Some("y:unique.v1".into());
        assert_eq!(summaries.size_with([&removing]), size + 11 + 5 + 2 * OVERHEAD);
        let unseen = annotation("com.ably.reactions", "other", Some("a"));
        assert_eq!(summaries.size_with([&unseen]), size);
    }
}
