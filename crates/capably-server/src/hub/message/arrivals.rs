//! A map that gives its entries in the order in which their keys came.

use std::collections::BTreeMap;

use capably_protocol::Str;

/// Values by the id of a client, in the order in which the clients came. A client that is there already keeps
/// its place; one that has gone and comes again is the last.
#[derive(Debug)]
pub(crate) struct Arrivals<V> {
    /// Each with the number of its arrival.
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
    /// The value of a client, which comes now unless it is there.
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
    /// Takes a client out, if it is there.
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

    /// The clients, those first that came first.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &Str> {
        self.order.values()
    }

    /// The clients, those first that came first, with their values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Str, &V)> {
        self.order.values().filter_map(|client| Some((client, &self.known.get(client)?.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_stand_in_the_order_in_which_they_came() {
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
