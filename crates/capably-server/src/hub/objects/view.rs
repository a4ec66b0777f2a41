//! Objects as REST shows them: as plain values, or with the ids and types of all that is there.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use capably_objects::{ObjectsPool, ValueRef};
use capably_protocol::{ErrorInfo, Str};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::path::{Pattern, object};
use crate::hub::error;

/// The most objects within each other that are shown. Deeper ones are shown by their ids, as in a cycle. In the full form,
/// each takes four levels of the reply.
const DEEPEST: usize = 100;

/// The most values that are shown. Objects that many keys refer to are shown at each, which may multiply.
const MOST_VALUES: usize = 100_000;

/// A value as REST shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ObjectView {
    Boolean(bool),
    Number(f64),
    Text(Str),
    Bytes(Bytes),
    Map(Vec<(Str, ObjectView)>),
}

/// The form in which objects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViewForm {
    /// Maps and counters as plain maps and numbers.
    Compact,
    /// Each object with its id, and each value with its type.
    Full,
}

impl ObjectView {
    /// The value at a path from an object, or from the root.
    ///
    /// # Errors
    /// 92004 for an unknown object, 92005 for a path without a value, 40003 for one with a wildcard.
    pub(crate) fn of(
        pool: &ObjectsPool,
        object_id: Option<&str>,
        path: &str,
        form: ViewForm,
    ) -> Result<Self, ErrorInfo> {
        let text = path;
        let path = Pattern::parse(text);
        if path.has_wildcard() {
            let reason = r"a path to read has no wildcard; a key that is an asterisk is `\*`";
            return Err(error::bad_parameter(reason));
        }
        let found = path.find(object(pool, object_id)?)?;
        let value = found.into_iter().next().ok_or_else(|| error::nothing_at_path(text))?;
        let mut viewer = Viewer { form, above: Vec::new(), values: 0 };
        Ok(viewer.view(value))
    }
}

struct Viewer<'a> {
    form: ViewForm,
    /// The maps that contain the value.
    above: Vec<&'a Str>,
    /// The number of values so far.
    values: usize,
}

impl<'a> Viewer<'a> {
    fn view(&mut self, value: ValueRef<'a>) -> ObjectView {
        use ObjectView::{Boolean, Bytes, Map, Number, Text};
        self.values += 1;
        let (kind, leaf) = match value {
            ValueRef::Boolean(value) => ("boolean", Boolean(value)),
            ValueRef::Number(value) => ("number", Number(value)),
            ValueRef::String(text) => ("string", Text(text.clone())),
            ValueRef::Bytes(bytes) => ("bytes", Bytes(bytes.clone())),
            ValueRef::Json(value) => ("json", Text(value.to_string().into())),
            ValueRef::Counter(counter) => match self.form {
                ViewForm::Compact => return Number(counter.value()),
                ViewForm::Full => {
                    let data = Map(vec![field("number", Number(counter.value()))]);
                    let counter_field = field("counter", Map(vec![field("data", data)]));
                    return Map(vec![id_field(counter.id()), counter_field]);
                }
            },
            ValueRef::Map(map) => return self.view_map(map),
        };
        match self.form {
            ViewForm::Compact => leaf,
            ViewForm::Full => Map(vec![field(kind, leaf)]),
        }
    }

    fn view_map(&mut self, map: capably_objects::MapRef<'a>) -> ObjectView {
        use ObjectView::{Map, Text};
        let id = map.id();
        if self.above.contains(&id) || self.above.len() >= DEEPEST || self.values > MOST_VALUES {
            return Map(vec![id_field(id)]);
        }
        self.above.push(id);
        // A key whose object does not exist has no value.
        let entries = map.entries().filter_map(|(key, value)| Some((key, value?)));
        let entries = entries.map(|(key, value)| {
            let value = self.view(value);
            match self.form {
                ViewForm::Compact => (key.clone(), value),
                ViewForm::Full => (key.clone(), Map(vec![field("data", value)])),
            }
        });
        let entries = Map(entries.collect());
        self.above.pop();
        match self.form {
            ViewForm::Compact => entries,
            ViewForm::Full => {
                let semantics = field("semantics", Text(Str::from_static("LWW")));
                let fields = Map(vec![semantics, field("entries", entries)]);
                Map(vec![id_field(id), field("map", fields)])
            }
        }
    }
}

fn field(name: &'static str, value: ObjectView) -> (Str, ObjectView) {
    (Str::from_static(name), value)
}

fn id_field(id: &Str) -> (Str, ObjectView) {
    field("objectId", ObjectView::Text(id.clone()))
}

impl Serialize for ObjectView {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Boolean(value) => s.serialize_bool(*value),
            Self::Number(number) => serialize_number(*number, s),
            Self::Text(text) => s.serialize_str(text),
            Self::Bytes(bytes) if s.is_human_readable() => s.serialize_str(&STANDARD.encode(bytes)),
            Self::Bytes(bytes) => s.serialize_bytes(bytes),
            Self::Map(fields) => {
                let mut map = s.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(&**name, value)?;
                }
                map.end()
            }
        }
    }
}

/// Writes a number without a fraction as an integer, as people expect it of JSON.
fn serialize_number<S: Serializer>(number: f64, s: S) -> Result<S::Ok, S::Error> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let is_whole = number.fract() == 0.0 && number.abs() < EXACT;
    if is_whole && !(number == 0.0 && number.is_sign_negative()) {
        s.serialize_i64(number as i64)
    } else {
        s.serialize_f64(number)
    }
}
