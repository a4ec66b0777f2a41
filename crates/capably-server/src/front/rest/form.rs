//! A message as a form: `name=greeting&data=hello`, of the type `application/x-www-form-urlencoded`.

use capably_protocol::{Data, ErrorInfo, Message, Str};
use hyper::{HeaderMap, header};
use percent_encoding::percent_decode;

use crate::hub::error;

/// Whether the request's body is a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Reads a message whose fields are `name`, `data`, `id`, `clientId`, `connectionKey`, `encoding` and `extras`, which
/// is JSON. Other fields are ignored, as in the other formats.
///
/// # Errors
/// Code 40000 for a form that is malformed, has a field twice, or has no field of a message.
pub(in crate::front) fn message(body: &[u8]) -> Result<Message, ErrorInfo> {
    let mut fields: [(&str, Option<String>); 7] =
        ["name", "data", "id", "clientId", "connectionKey", "encoding", "extras"]
            .map(|name| (name, None));
    check_encoding(body)?;
    for (name, value) in form_urlencoded::parse(body) {
        if let Some((known, field)) = fields.iter_mut().find(|(known, _)| *known == name)
            && field.replace(value.into_owned()).is_some()
        {
            return Err(error::bad_request(format!("the form has the field `{known}` twice")));
        }
    }
    if fields.iter().all(|(_, value)| value.is_none()) {
        return Err(error::bad_request(
            "the form has none of the fields `name`, `data`, `id`, `clientId`, `connectionKey`, `encoding` and \
             `extras`; a body in JSON needs the Content-Type application/json",
        ));
    }
    let [name, data, id, client_id, connection_key, encoding, extras] =
        fields.map(|(_, value)| value);
    let extras =
        match extras {
            None => None,
            Some(text) => Some(serde_json::from_str(&text).map_err(|_| {
                error::bad_request("the form's field `extras` is not a JSON object")
            })?),
        };
    Ok(Message {
        name: name.map(Str::from),
        data: data.map_or(Data::None, |text| Data::Text(text.into())),
        id: id.map(Str::from),
        client_id: client_id.map(Str::from),
        connection_key: connection_key.map(Str::from),
        encoding: encoding.map(Str::from),
        extras,
        ..Message::default()
    })
}

/// Checks that every `%` begins an escape, and that the decoded form is UTF-8.
///
/// The parser of forms accepts both faults and replaces characters: a message would be published with other data
/// than its sender meant.
fn check_encoding(body: &[u8]) -> Result<(), ErrorInfo> {
    let is_escape = |after: &[u8]| matches!(after, [first, second, ..] if first.is_ascii_hexdigit() && second.is_ascii_hexdigit());
    let mut escapes = (0..body.len()).filter(|index| body[*index] == b'%');
    if !escapes.all(|index| is_escape(&body[index + 1..])) {
        return Err(error::bad_request(
            "a `%` in the form is not followed by two hexadecimal digits",
        ));
    }
    percent_decode(body).decode_utf8().map_err(|_| error::bad_request("the form is not UTF-8"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_fields_of_its_form() {
        let form = "name=a+b&data=%F0%9F%9A%80%3D%26%2B&&id=1&clientId=me&other=x&extras=%7B%22k%22%3A1%7D";
        let message = message(form.as_bytes()).unwrap();
        assert_eq!(message.name.as_deref(), Some("a b"));
        assert_eq!(message.data, Data::from("🚀=&+"));
        assert_eq!((message.id.as_deref(), message.client_id.as_deref()), (Some("1"), Some("me")));
        assert_eq!(message.extras.unwrap()["k"], 1);
        assert_eq!((message.encoding, message.connection_key), (None, None));
    }

    #[test]
    fn a_field_may_be_empty_or_missing() {
        let message = message(b"data&name=").unwrap();
        assert_eq!((message.name.as_deref(), message.data), (Some(""), Data::from("")));
        assert_eq!(super::message(b"name=n").unwrap().data, Data::None);
    }

    #[test]
    fn invalid_forms_are_refused() {
        for form in [
            &b""[..],
            b"&&",
            b"other=1",
            b"{\"name\":\"n\"}",
            b"name=a&name=b",
            b"data=%",
            b"data=%4",
            b"data=%zz",
            b"na%me=a",
            b"data=%ff",
            b"data=\xff",
            b"data=x&extras=[]",
            b"data=x&extras={",
            b"data=x&extras",
        ] {
            let error = message(form).unwrap_err();
            assert_eq!((error.code.0, error.status_code), (40000, 400), "{}", form.escape_ascii());
        }
    }
}
