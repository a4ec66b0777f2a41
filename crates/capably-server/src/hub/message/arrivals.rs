//! A map of clients, in the order of their arrival.

use std::collections::BTreeMap;

use capably_protocol::Str;

/// Values by client id, in the order of arrival. A client that arrives again keeps its place, unless it was removed in
/// between.
#[derive(Debug)]
pub(crate) struct Arrivals<V> {
    /// Each value with the number of its client's arrival.
    known: BTreeMap<Str, (u64, V)>,
    order: BTreeMap<u64, Str>,
    next: u64,
}

impl<V> Default for Arrivals<V> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), order: BTreeMap::new(), next: 0 }
    }
}

impl<V: Default> Arrivals<V> {
    /// The value of a client, which is added if it is new.
    pub(crate) fn entry(&mut self, client: Str) -> &mut V {
        let Self { known, order, next } = self;
        let (_, value) = known.entry(client).or_insert_with_key(|client| {
            let number = *next;
            *next += 1;
            order.insert(number, client.clone());
            (number, V::default())
        });
        value
    }
}

impl<V> Arrivals<V> {
    /// Removes a client.
    pub(crate) fn remove(&mut self, client: &str) {
        if let Some((number, _)) = self.known.remove(client) {
            self.order.remove(&number);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The clients in the order of arrival.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Str> {
        self.order.values()
    }

    /// The clients and their values in the order of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Str, &V)> {
        self.order.values().filter_map(|client| Some((client, &self.known.get(client)?.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_listed_in_order_of_arrival() {
        let mut arrivals = Arrivals::<u64>::default();
        for client in ["c", "a", "b", "a", "d"] {
            *arrivals.entry(client.into()) += 1;
        }
        let seen = |arrivals: &Arrivals<u64>| -> String {
            arrivals.iter().map(|(client, count)| format!("{client}{count}")).collect()
        };
        assert_eq!(seen(&arrivals), "c1a2b1d1");
        arrivals.remove("a");
        arrivals.remove("nobody");
        assert_eq!((seen(&arrivals).as_str(), arrivals.len()), ("c1b1d1", 3));
        *arrivals.entry("a".into()) += 1;
        assert_eq!(seen(&arrivals), "c1b1d1a1", "whoever comes again is the last");
        for client in ["a", "b", "c", "d"] {
            arrivals.remove(client);
        }
        assert!(arrivals.is_empty() && arrivals.clients().next().is_none());
    }
}
