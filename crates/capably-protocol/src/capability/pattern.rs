//! The resources of a capability: names of channels, and patterns of them.

use std::cmp::Ordering;

/// A resource pattern: `[qualifier]` and segments between colons.
///
/// `*` stands for one whole segment and, at the end, for one or more; within a longer segment it is an
/// ordinary character. A pattern without a qualifier does not match a channel that has one; `[*]`
/// matches any qualifier, and none.
///
/// Patterns are equal and in order as their texts are.
///
/// ```
/// use capably_protocol::capability::Pattern;
///
/// let pattern = Pattern::new("chat:*");
/// assert!(pattern.matches("chat:lobby") && pattern.matches("chat:lobby:news"));
/// assert!(!pattern.matches("chat"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    text: String,
    qualifier: Option<String>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Any,
    Literal(String),
}

impl Pattern {
    /// Parses a pattern; any text is a pattern.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let (qualifier, name) = split_qualifier(&text);
        let segments = name
            .split(':')
            .map(|segment| match segment {
                "*" => Segment::Any,
                literal => Segment::Literal(literal.to_owned()),
            })
            .collect();
        let qualifier = qualifier.map(str::to_owned);
        Self { text, qualifier, segments }
    }

    /// The text that the pattern was made from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches one name only: no part of it is `*`.
    pub fn is_exact(&self) -> bool {
        self.qualifier.as_deref() != Some("*") && !self.segments.contains(&Segment::Any)
    }

    /// Compares how specific two patterns are; the more specific one is greater. Segments compare from the first on, so
    /// `a:b:*` is greater than `a:*:c`. A pattern is less than those that it covers.
    pub fn cmp_specificity(&self, other: &Self) -> Ordering {
        // A `*` at the end covers longer patterns, and is before them as the shorter one.
        let literal = |segment: &Segment| *segment != Segment::Any;
        let segments = |pattern: &Self| pattern.segments.iter().map(literal).collect::<Vec<_>>();
        let any_qualifier = |pattern: &Self| pattern.qualifier.as_deref() == Some("*");
        segments(self)
            .cmp(&segments(other))
            .then_with(|| any_qualifier(other).cmp(&any_qualifier(self)))
    }

    /// Whether it matches every channel that has no qualifier.
    pub(super) fn is_open(&self) -> bool {
        self.segments == [Segment::Any] && matches!(self.qualifier.as_deref(), None | Some("*"))
    }

    /// Whether it matches every channel that `other` matches.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.qualifier.as_deref() != Some("*") && self.qualifier != other.qualifier {
            return false;
        }
        let mut others = other.segments.iter();
        for (index, segment) in self.segments.iter().enumerate() {
            let Some(theirs) = others.next() else { return false };
            match segment {
                Segment::Any if index + 1 == self.segments.len() => return true,
                Segment::Any => {}
                Segment::Literal(_) if segment == theirs => {}
                Segment::Literal(_) => return false,
            }
        }
        others.next().is_none()
    }

    /// Whether it matches the channel.
    pub fn matches(&self, channel: &str) -> bool {
        let (qualifier, name) = split_qualifier(channel);
        let qualified = match (self.qualifier.as_deref(), qualifier) {
            (Some("*"), _) | (None, None) => true,
            (Some(pattern), Some(qualifier)) => pattern == qualifier,
            (Some(_), None) | (None, Some(_)) => false,
        };
        qualified && self.matches_name(name)
    }

    fn matches_name(&self, name: &str) -> bool {
        let mut parts = name.split(':');
        for (index, segment) in self.segments.iter().enumerate() {
            let Some(part) = parts.next() else { return false };
            match segment {
                Segment::Any if index + 1 == self.segments.len() => return true,
                Segment::Any => {}
                Segment::Literal(literal) => {
                    if literal != part {
                        return false;
                    }
                }
            }
        }
        parts.next().is_none()
    }
}

fn split_qualifier(resource: &str) -> (Option<&str>, &str) {
    match resource.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((qualifier, name)) => (Some(qualifier), name),
        None => (None, resource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text)
    }

    #[test]
    fn patterns_match_whole_segments() {
        for (text, channel) in [
            ("a", "a"),
            ("*", "a"),
            ("*", "a:b:c"),
            ("ns:*", "ns:a"),
            ("ns:*", "ns:a:b"),
            ("*:b", "a:b"),
            ("a:*:c", "a:x:c"),
            ("foo*", "foo*"),
            ("[*]*", "a"),
            ("[*]*", "[meta]a"),
            ("[meta]*", "[meta]a"),
            ("[*]a", "[filter=x]a"),
        ] {
            assert!(pattern(text).matches(channel), "{text} should match {channel}");
        }
        for (text, channel) in [
            ("a", "b"),
            ("a", "a:b"),
            ("ns:*", "ns"),
            ("ns:*", "nsa:b"),
            ("foo*", "foobar"),
            ("*:b", "a:c:b"),
            ("a:*:c", "a:x:y:c"),
            ("*", "[meta]a"),
            ("[meta]*", "a"),
            ("[meta]*", "[filter=x]a"),
        ] {
            assert!(!pattern(text).matches(channel), "{text} should not match {channel}");
        }
    }

    #[test]
    fn patterns_are_more_or_less_specific() {
        let texts =
            ["[*]*", "*", "*:*", "*:b", "a:*", "a:*:*", "a:*:c", "a:b:*", "[*]a:b:c", "a:b:c"];
        for (less, text) in texts.iter().enumerate() {
            for other in &texts[less + 1..] {
                let (less, more) = (pattern(text), pattern(other));
                assert_eq!(less.cmp_specificity(&more), Ordering::Less, "{text} {other}");
                assert_eq!(more.cmp_specificity(&less), Ordering::Greater, "{text} {other}");
                assert!(!more.covers(&less), "{other} does not cover {text}");
            }
        }
        assert_eq!(pattern("a:*").cmp_specificity(&pattern("b:*")), Ordering::Equal);
        let exact: Vec<_> = texts.iter().filter(|text| pattern(text).is_exact()).collect();
        assert_eq!(exact, [&"a:b:c"]);
    }

    #[test]
    fn a_pattern_covers_another_when_it_matches_all_that_the_other_does() {
        for (wide, narrow) in [
            ("*", "a"),
            ("*", "a:*"),
            ("a:*", "a:b:*"),
            ("a:*:c", "a:b:c"),
            ("[*]*", "[meta]a"),
            ("[*]*", "*"),
        ] {
            assert!(pattern(wide).covers(&pattern(narrow)), "{wide} covers {narrow}");
            assert!(!pattern(narrow).covers(&pattern(wide)), "{narrow} does not cover {wide}");
        }
        for (one, other) in
            [("a:*:c", "a:*"), ("a:*:*", "a:*"), ("*:b", "a:*"), ("a", "b"), ("*", "[meta]*")]
        {
            assert!(!pattern(one).covers(&pattern(other)), "{one} does not cover {other}");
        }
        assert_eq!(
            ["*", "[*]*", "[meta]*", "a:*", "*:*"].map(|it| pattern(it).is_open()),
            [true, true, false, false, false]
        );
    }
}
