//! Paths and values of objects, as text on the command line and in the output.

use std::fmt::Write;

use capably::realtime::objects::{ObjectValue, Path};
use serde_json::Value;

use crate::{failure::Failure, payload::describe_bytes, visible::visible};

/// A path to a key of a map: the path of the map, and the key.
///
/// # Errors
/// Wrong usage for the path of the root, and for a wildcard as the key.
pub(super) fn map_and_key(path: &str) -> Result<(String, String), Failure> {
    let path = Path::parse(path);
    let Some((key, map)) = path.keys().split_last() else {
        return Err(Failure::usage("the path is empty").remedy("name a key, such as votes.tea"));
    };
    let key = match &**key {
        "*" => {
            return Err(Failure::usage("the last key of the path is a wildcard")
                .remedy(r"name the key; a key that is an asterisk is written \*"));
        }
        r"\*" => "*".to_owned(),
        key => key.to_owned(),
    };
    // The map's path may have wildcards, which stay as they are.
    Ok((Path::from_iter(map.iter().cloned()).to_string(), key))
}

/// The keys of a path without wildcards.
///
/// # Errors
/// Wrong usage for a wildcard.
pub(super) fn keys(path: &str) -> Result<Vec<String>, Failure> {
    let path = Path::parse(path);
    let keys = path.keys().iter().map(|key| match &**key {
        "*" => Err(Failure::usage("a path to watch has no wildcard").remedy(
            r"watch the map: changes below it are printed, too; a key that is an asterisk is written \*",
        )),
        r"\*" => Ok("*".to_owned()),
        key => Ok(key.to_owned()),
    });
    keys.collect()
}

/// The path of a value, of which the keys are as they are.
pub(super) fn literal(path: &str) -> Path {
    let path = Path::parse(path);
    path.keys().iter().map(|key| if &**key == r"\*" { "*".into() } else { key.clone() }).collect()
}

/// A path for people: as it is written on the command line.
pub(super) fn show_path(path: &Path) -> String {
    let keys = path.keys().iter().map(|key| if &**key == "*" { r"\*".into() } else { key.clone() });
    visible(&Path::from_iter(keys).to_string()).into_owned()
}

/// A leaf for people, on one line.
pub(super) fn show_leaf(value: &ObjectValue) -> String {
    match value {
        ObjectValue::Boolean(value) => value.to_string(),
        ObjectValue::Bytes(bytes) => describe_bytes(bytes),
        ObjectValue::Number(number) => show_number(*number),
        ObjectValue::String(text) => visible(text).into_owned(),
        ObjectValue::Json(value) => show_json(value),
    }
}

/// JSON for people, on one line.
pub(super) fn show_json(value: &Value) -> String {
    visible(&value.to_string()).into_owned()
}

pub(super) fn show_number(number: f64) -> String {
    // Most numbers are short. The largest ones would have 300 digits.
    let mut text = number.to_string();
    if text.len() > 24 {
        text.clear();
        let _ = write!(text, "{number:e}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_at_its_last_key() {
        for (path, map, key) in [
            ("a", "", "a"),
            ("a.b.c", "a.b", "c"),
            (r"a\.b.c\.d", r"a\.b", "c.d"),
            ("a.*.c", "a.*", "c"),
            (r"a.\*.\*", r"a.\*", "*"),
            ("a.", "a", ""),
        ] {
            assert_eq!(map_and_key(path).unwrap(), (map.to_owned(), key.to_owned()), "{path}");
        }
        assert!(map_and_key("").is_err() && map_and_key("a.*").is_err());
        assert!(keys("a.*").is_err());
        assert_eq!(keys(r"a\.b.\*").unwrap(), ["a.b", "*"]);
        assert_eq!(keys("").unwrap(), [""; 0]);
    }

    #[test]
    fn values_are_shown_on_one_line() {
        for (value, shown) in [
            (ObjectValue::Boolean(true), "true"),
            (ObjectValue::Bytes(vec![0, 255].into()), "2 bytes: 00 ff"),
            (ObjectValue::Number(3.0), "3"),
            (ObjectValue::Number(-0.25), "-0.25"),
            (ObjectValue::Number(1e300), "1e300"),
            (ObjectValue::String("a\x1b[0m\n".into()), r"a\u{1b}[0m\n"),
            (ObjectValue::Json(serde_json::json!({"a": "\u{9b}"})), r#"{"a":"\u{9b}"}"#),
        ] {
            assert_eq!(show_leaf(&value), shown);
        }
        assert_eq!(show_path(&Path::from_iter(["a.b", "*", "\x07"])), r"a\.b.\*.\u{7}");
    }
}
