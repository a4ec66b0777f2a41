//! Paths to values, as keys from the root (RTPO2a, RTPO4, RTPO6).

use std::{convert::Infallible, fmt, str::FromStr};

use capably_protocol::Str;

/// The keys that lead from the root to a value. The empty path is the root itself.
///
/// Its text has a dot between keys; a dot within a key is written `\.` (RTPO4b).
///
/// ```
/// use capably_objects::Path;
///
/// let path: Path = r"scores.v1\.0".parse()?;
/// assert_eq!(path, Path::from_iter(["scores", "v1.0"]));
/// assert_eq!(path.join("total").to_string(), r"scores.v1\.0.total");
/// # Ok::<(), std::convert::Infallible>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Str>);

impl Path {
    /// The path of the root.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The path that a text describes (RTPO6b). Any text is a path: a backslash before another character than a dot stands
    /// for itself.
    pub fn parse(text: &str) -> Self {
        let mut keys = Vec::new();
        if text.is_empty() {
            return Self(keys); // RTPO4c
        }
        let mut key = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '.' => keys.push(std::mem::take(&mut key).into()),
                '\\' => match characters.next() {
                    Some('.') => key.push('.'),
                    Some(other) => key.extend(['\\', other]),
                    None => key.push('\\'),
                },
                _ => key.push(character),
            }
        }
        keys.push(key.into());
        Self(keys)
    }

    /// The keys, from the root on.
    pub fn keys(&self) -> &[Str] {
        &self.0
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is the path of the root.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a key (RTPO5c).
    pub fn push(&mut self, key: impl Into<Str>) {
        self.0.push(key.into());
    }

    /// The path with a further key (RTPO5c).
    #[must_use]
    pub fn join(&self, key: impl Into<Str>) -> Self {
        let mut keys = Vec::with_capacity(self.0.len() + 1);
        keys.extend_from_slice(&self.0);
        keys.push(key.into());
        Self(keys)
    }

    /// The path with the keys of another one appended (RTPO6c).
    #[must_use]
    pub fn at(&self, rest: &Self) -> Self {
        Self([&*self.0, &*rest.0].concat())
    }

    /// Whether this path is the start of another one, or equal to it.
    pub fn is_prefix_of(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, key) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            for (at, part) in key.split('.').enumerate() {
                if at > 0 {
                    f.write_str(r"\.")?;
                }
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::parse(text))
    }
}

impl<K: Into<Str>> FromIterator<K> for Path {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(keys.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Spec: RTPO4, RTPO4a, RTPO4b, RTPO4c, RTPO6, RTPO6b
    #[test]
    fn dots_in_keys_are_escaped() {
        for (text, keys) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("a.b.c", &["a", "b", "c"]),
            (r"a.b\.c.d", &["a", "b.c", "d"]),
            (r"\.", &["."]),
            ("a.", &["a", ""]),
            (".a", &["", "a"]),
            (r"a\b.c", &[r"a\b", "c"]),
        ] {
            let path = Path::parse(text);
            assert_eq!(path, Path::from_iter(keys.iter().copied()), "{text}");
            assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn a_backslash_without_a_dot_stands_for_itself() {
        assert_eq!(Path::parse(r"a\\.b"), Path::from_iter([r"a\\", "b"]));
        assert_eq!(Path::parse(r"a\"), Path::from_iter([r"a\"]));
    }

    // Spec: RTPO5c, RTPO6c, RTPO6d
    #[test]
    fn paths_are_joined() {
        let path = Path::root().join("a").join("b.c");
        assert_eq!(path, Path::root().at(&Path::parse(r"a.b\.c")));
        assert!(Path::root().is_prefix_of(&path) && path.is_prefix_of(&path));
        assert!(Path::parse("a").is_prefix_of(&path));
        assert!(!path.is_prefix_of(&Path::parse("a")));
        assert!(!Path::parse("user").is_prefix_of(&Path::parse("users")));
    }

    proptest! {
        #[test]
        fn any_text_is_a_path(text in ".{0,40}") {
            let _ = Path::parse(&text);
        }

        // A key with a backslash before a dot has no text of its own (RTPO4b), and the path of one empty key has that of the root.
        #[test]
        fn paths_survive_their_text(keys in prop::collection::vec("[a-c.é]{1,4}", 0..5)) {
            let path = Path::from_iter(keys);
            prop_assert_eq!(Path::parse(&path.to_string()), path);
        }
    }
}
