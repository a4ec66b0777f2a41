//! Summaries of annotations, as types (TM7).
//!
//! A [`Message`](crate::Message) has each [summary](crate::Message::summary) as it was received, since this version may
//! not know its type. These functions read the known types. Choose the function by the part of the annotation's type
//! after the colon.
//!
//! ```
//! use capably_protocol::{MessageAnnotations, summary};
//!
//! let annotations: MessageAnnotations = serde_json::from_str(
//!     r#"{"summary": {"reaction:distinct.v1": {"like": {"total": 2, "clientIds": ["ada", "joe"]}}}}"#,
//! )?;
//! let reactions = summary::distinct_v1(&annotations.summary["reaction:distinct.v1"])?;
//! assert_eq!(reactions["like"].total, 2);
//! assert_eq!(reactions["like"].client_ids, ["ada", "joe"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{ErrorCode, ErrorInfo, Str, lenient};

/// The clients that annotated, by name: the summary of `distinct.v1` (TM7b1).
///
/// # Errors
/// Code 40013 when the summary has another form.
pub fn distinct_v1(summary: &Value) -> Result<BTreeMap<String, SummaryClientIdList>, ErrorInfo> {
    read(summary, "distinct.v1")
}

/// The clients that annotated, by name: the summary of `unique.v1` (TM7b2).
///
/// # Errors
/// Code 40013 when the summary has another form.
pub fn unique_v1(summary: &Value) -> Result<BTreeMap<String, SummaryClientIdList>, ErrorInfo> {
    read(summary, "unique.v1")
}

/// The clients that annotated with their counts, by name: the summary of `multiple.v1` (TM7b3).
///
/// # Errors
/// Code 40013 when the summary has another form.
pub fn multiple_v1(summary: &Value) -> Result<BTreeMap<String, SummaryClientIdCounts>, ErrorInfo> {
    read(summary, "multiple.v1")
}

/// The clients that annotated: the summary of `flag.v1` (TM7b4).
///
/// # Errors
/// Code 40013 when the summary has another form.
pub fn flag_v1(summary: &Value) -> Result<SummaryClientIdList, ErrorInfo> {
    read(summary, "flag.v1")
}

/// The number of annotations: the summary of `total.v1` (TM7b5).
///
/// # Errors
/// Code 40013 when the summary has another form.
pub fn total_v1(summary: &Value) -> Result<SummaryTotal, ErrorInfo> {
    read(summary, "total.v1")
}

fn read<T: DeserializeOwned>(summary: &Value, kind: &str) -> Result<T, ErrorInfo> {
    T::deserialize(summary).map_err(|error| {
        let message = format!("this is not a summary of `{kind}` annotations: {error}");
        ErrorInfo::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
    })
}

/// Clients that annotated (TM7c1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SummaryClientIdList {
    /// How many they are (TM7c1a).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub total: u64,
    /// Their ids (TM7c1b).
    #[serde(deserialize_with = "lenient::items")]
    pub client_ids: Vec<Str>,
    /// Whether more clients annotated than `client_ids` lists (TM7c1c).
    #[serde(deserialize_with = "lenient::or_default")]
    pub clipped: bool,
}

/// Clients that annotated, each with a count (TM7d1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SummaryClientIdCounts {
    /// The sum of all counts (TM7d1a).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub total: u64,
    /// The count of each client, by its id (TM7d1b).
    #[serde(deserialize_with = "lenient::or_default")]
    pub client_ids: BTreeMap<String, u64>,
    /// Whether more clients annotated than `client_ids` lists (TM7d1c).
    #[serde(deserialize_with = "lenient::or_default")]
    pub clipped: bool,
    /// The sum of the counts of clients without an id (TM7d1d).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub total_unidentified: u64,
    /// How many clients with an id there are (TM7d1e).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub total_client_ids: u64,
}

/// How many annotations there are (TM7e1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SummaryTotal {
    /// Their number (TM7e1a).
    #[serde(deserialize_with = "lenient::integer_or_default")]
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Format, Limits, Message, codec};

    // Spec: TM7, TM7b, TM7b1, TM7b2, TM7b4, TM7c, TM7c1, TM7c1a, TM7c1b, TM7c1c
    #[test]
    fn lists_of_clients_are_read() {
        let list = json!({"total": 3, "clientIds": ["ada", "joe"], "clipped": true, "new": 1});
        let expected = SummaryClientIdList {
            total: 3,
            client_ids: vec!["ada".into(), "joe".into()],
            clipped: true,
        };
        assert_eq!(flag_v1(&list).unwrap(), expected);
        let names = json!({"like": list, "love": {"total": 0, "clientIds": []}});
        for read in [distinct_v1, unique_v1] {
            let summary = read(&names).unwrap();
            assert_eq!(summary["like"], expected);
            assert_eq!(summary["love"], SummaryClientIdList::default(), "it is not clipped");
        }
    }

    // Spec: TM7b3, TM7d1, TM7d1a, TM7d1b, TM7d1c, TM7d1d, TM7d1e
    #[test]
    fn counts_of_clients_are_read() {
        let names = json!({"stars": {
            "total": 9, "clientIds": {"ada": 5, "joe": 2}, "totalUnidentified": 2,
            "totalClientIds": 2, "clipped": true,
        }, "none": {}});
        let summary = multiple_v1(&names).unwrap();
        let client_ids = [("ada".to_owned(), 5), ("joe".to_owned(), 2)];
        let expected = SummaryClientIdCounts {
            total: 9,
            client_ids: client_ids.into_iter().collect(),
            clipped: true,
            total_unidentified: 2,
            total_client_ids: 2,
        };
        assert_eq!(summary["stars"], expected);
        assert!(!summary["none"].clipped);
    }

    // Spec: TM7b5, TM7e1, TM7e1a
    #[test]
    fn totals_are_read() {
        assert_eq!(total_v1(&json!({"total": 4})).unwrap(), SummaryTotal { total: 4 });
        // MessagePack has whole numbers as floats, too.
        assert_eq!(total_v1(&json!({"total": 4.0})).unwrap().total, 4);
    }

    #[test]
    fn a_summary_of_another_kind_is_an_error() {
        for error in [
            distinct_v1(&json!({"total": 4})).unwrap_err(),
            unique_v1(&json!([])).unwrap_err(),
            multiple_v1(&json!({"like": {"total": 1, "clientIds": ["ada"]}})).unwrap_err(),
            flag_v1(&json!({"total": -1})).unwrap_err(),
            total_v1(&json!("4")).unwrap_err(),
        ] {
            assert_eq!((error.code.0, error.status_code), (40013, 400), "{error}");
        }
    }

    // Spec: TM7a, TM8, TM8a, TM8a1
    #[test]
    fn a_message_keeps_summaries_as_they_came() {
        let summary =
            json!({"reaction:distinct.v1": {"like": {"total": 1}}, "new:kind.v9": {"a": [1]}});
        let value = json!([{"annotations": {"summary": summary}}, {"annotations": {}}, {}]);
        for format in [Format::Json, Format::MsgPack] {
            let body = codec::encode_body(format, &value).unwrap().into();
            let messages: Vec<Message> =
                codec::decode_items(format, &body, &Limits::default()).unwrap();
            assert_eq!(json!(messages[0].summary()), summary);
            assert!(messages[1].summary().is_empty() && messages[2].summary().is_empty());
        }
    }
}
