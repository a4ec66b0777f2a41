//! Queries and paths, decoded.

use std::borrow::Cow;

use capably_protocol::ErrorInfo;
use percent_encoding::percent_decode_str;

use crate::hub::error;

/// The parameters of a query, in their order. Credentials may be among them, so it has no `Debug`.
#[derive(Clone)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=d`. Bytes that are not UTF-8 are replaced.
    pub(crate) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of this name as a number.
    ///
    /// # Errors
    /// Code 40003 when it is not a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ErrorInfo> {
        self.get(name)
            .map(|value| {
                value.parse().map_err(|_| error::bad_parameter(format!("`{name}` is not a number")))
            })
            .transpose()
    }

    /// The same parameters, without those of these names.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect())
    }

    /// The same parameters and one more.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The query as text. Characters that have a meaning in a Link header are escaped, too.
    pub(crate) fn encode(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

/// The segments of a path, each decoded.
///
/// # Errors
/// Code 40000 when a segment is not UTF-8.
pub(crate) fn path_segments(path: &str) -> Result<Vec<Cow<'_, str>>, ErrorInfo> {
    path.strip_prefix('/')
        .unwrap_or(path)
        .split('/')
        .map(|segment| {
            percent_decode_str(segment)
                .decode_utf8()
                .map_err(|_| error::bad_request("the path is not UTF-8"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_survive_a_round_trip() {
        let query = Query::parse("a=1&b=x%2Cy+z&&c&a=2&d=%F0%9F%9A%80");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.get("b"), Some("x,y z"));
        assert_eq!(query.get("c"), Some(""));
        assert_eq!(query.get("d"), Some("🚀"));
        assert_eq!(query.get("e"), None);
        assert_eq!(
            query.without(&["a", "d"]).with("e", "1@l:0").encode(),
            "b=x%2Cy+z&c=&e=1%40l%3A0"
        );
        assert_eq!(query.number::<u32>("a"), Ok(Some(1)));
        assert_eq!(query.number::<u32>("b").unwrap_err().code.0, 40003);
    }

    #[test]
    fn a_path_segment_may_contain_any_encoded_character() {
        let segments = path_segments("/channels/a%2Fb%3Fc%23d%25e%20%C3%BC/messages").unwrap();
        assert_eq!(segments, ["channels", "a/b?c#d%e ü", "messages"]);
        assert_eq!(path_segments("/").unwrap(), [""]);
        assert_eq!(path_segments("/%ff").unwrap_err().code.0, 40000);
    }
}
