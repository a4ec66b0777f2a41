//! The serial of the last operation of each site, in little memory.

/// The serials of an object's last operations, by site (RTLO3b).
///
/// Each is one string, of the site and the serial. Nearly all objects have one or two sites, and a map of two strings
/// takes twice the memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sites(Vec<SiteSerial>);

/// The code of a site, followed by a serial.
#[derive(Clone, Debug)]
struct SiteSerial {
    text: Box<str>,
    /// Where the serial begins, in bytes.
    split: u32,
}

impl Sites {
    /// The last serial of a site.
    pub(crate) fn get(&self, site: &str) -> Option<&str> {
        let at = self.position(site).ok()?;
        Some(self.0[at].parts().1)
    }

    /// Sets the last serial of a site.
    pub(crate) fn set(&mut self, site: &str, serial: &str) {
        match self.position(site) {
            Ok(at) => self.0[at].set_serial(serial),
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, SiteSerial::new(site, serial));
            }
        }
    }

    /// The sites with their serials, in the order of the sites.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(SiteSerial::parts)
    }

    fn position(&self, site: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|other| other.parts().0.cmp(site))
    }
}

impl SiteSerial {
    fn new(site: &str, serial: &str) -> Self {
        // A site whose code does not fit in 4 GB cannot be: a frame is far shorter.
        Self {
            split: u32::try_from(site.len()).unwrap_or(u32::MAX),
            text: [site, serial].concat().into(),
        }
    }

    fn parts(&self) -> (&str, &str) {
        self.text.split_at_checked(self.split as usize).unwrap_or((&self.text, ""))
    }

    /// Serials of a service are equally long, so their memory is used again.
    fn set_serial(&mut self, serial: &str) {
        let mut text = String::from(std::mem::take(&mut self.text));
        text.truncate(self.split as usize);
        text.push_str(serial);
        self.text = text.into();
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Sites {
    /// Collects serials of sites that are in order, each once.
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(serials: I) -> Self {
        let serials = serials.into_iter();
        // `collect` would make room for four at least.
        let mut sites = Vec::with_capacity(serials.size_hint().0);
        sites.extend(serials.map(|(site, serial)| SiteSerial::new(site, serial)));
        debug_assert!(sites.is_sorted_by(|a, b| a.parts().0 < b.parts().0));
        sites.shrink_to_fit();
        Self(sites)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_has_what_a_map_would(steps in prop::collection::vec(("[a-cé]{0,2}", "[0-9é]{0,3}"), 0..40)) {
            let mut model = BTreeMap::new();
            let mut sites = Sites::default();
            for (site, serial) in &steps {
                prop_assert_eq!(sites.get(site), model.get(site.as_str()).copied());
                sites.set(site, serial);
                model.insert(site.as_str(), serial.as_str());
                prop_assert_eq!(sites.get(site), Some(serial.as_str()));
            }
            let expected: Vec<_> = model.into_iter().collect();
            prop_assert_eq!(sites.iter().collect::<Vec<_>>(), expected.clone());
            let again = Sites::from_iter(expected.iter().copied());
            prop_assert_eq!(again.iter().collect::<Vec<_>>(), expected);
        }
    }
}
