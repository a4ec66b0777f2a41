//! JSON as our own reader reads it, beside serde_json: the same values, and errors for the same text.

#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Debug;

use bytes::Bytes;
use capably_protocol::{
    Annotation, DecodeError, Format, Limits, Message, ObjectMessage, PresenceMessage,
    PublishResult, ServerFrame,
    codec::{self, Item},
};
use proptest::{collection, prelude::*};
use serde::de::{DeserializeOwned, IgnoredAny};
use support::{annotation, message, object_message, presence, result, server_frame};

/// Values of every form, some of them not valid.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "nul",
    "nulll",
    "tru",
    "NaN",
    "",
    "-",
    "0",
    "-0",
    "00",
    "01",
    "-1",
    "-01",
    "+1",
    ".5",
    "1.",
    "1.0",
    "1.5",
    "-2.0",
    "1e3",
    "1E+3",
    "1e-3",
    "1e",
    "1e400",
    "5x",
    "12345678",
    "00000000",
    "1234567a",
    "123456789012345",
    "1234567890123456",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "1700000000000.0",
    r#""""#,
    r#""text""#,
    r#""größe 🦀""#,
    r#""exactly thirty-eight bytes of text here""#,
    r#""text of more than thirty-eight bytes, without escapes""#,
    r#""text of more than thirty-eight bytes, with \"escapes\"\n""#,
    r#""\"\\\/\b\f\n\r\t""#,
    r#""\u0041\u00e9\u20ac""#,
    r#""\ud83e\udd80""#,
    r#""\uD83E\uDD80""#,
    r#""\ud83e""#,
    r#""\ud83e\u0041""#,
    r#""\udd80""#,
    r#""\u00""#,
    r#""\x""#,
    r#""\"#,
    "\"a\nb\"",
    "\"\u{1f}\"",
    "\"\u{7f}\"",
    r#""open"#,
    "'text'",
    "{}",
    "{ }",
    "[]",
    "[1,]",
    "[,]",
    r#"{"a":1}"#,
    r#"{"a":1,}"#,
    r#"{"a" 1}"#,
    r#"{"a":1 "b":2}"#,
    r#"{a:1}"#,
    r#"{"a":{"b":[{"c":null}]}}"#,
    r#"{"serial":"s","timestamp":1}"#,
    r#"{"serial":"s","serial":"s"}"#,
    r#"{"timestamp":1,"serial":"s","other":"\u0041"}"#,
    r#"{"summary":{"a":{"total":1}}}"#,
    r#"{"\u0073erial":"s"}"#,
    " \t\r\n5 \t\r\n",
    "\u{b}5",
    "\u{c}5",
    "\u{a0}5",
    "[[[[5]]]]",
    "5}",
    "5,",
    "5]",
];

/// The text as our reader reads it and as serde's derived code reads it by serde_json: the same value, or an error in
/// both.
fn reads_as_serde_does<T>(text: &[u8]) -> Option<T>
where
    T: Item + DeserializeOwned + PartialEq + Debug,
{
    let limits = Limits::default();
    // serde_json steps over the values of unknown fields without a look at their characters.
    let serde = str::from_utf8(text).ok();
    let serde =
        serde.and_then(|text| codec::decode_body::<T>(Format::Json, text.as_bytes(), &limits).ok());
    let ours = codec::decode_items::<T>(Format::Json, &Bytes::copy_from_slice(text), &limits);
    let ours = ours.ok().map(|mut items| items.remove(0));
    assert_eq!(ours, serde, "{}", String::from_utf8_lossy(text));
    ours
}

fn decode(text: &[u8]) -> Result<ServerFrame, DecodeError> {
    let bytes = Bytes::copy_from_slice(text);
    codec::decode_server_frame(Format::Json, &bytes, &Limits::default())
}

fn reason(text: &str) -> String {
    match decode(text.as_bytes()) {
        Err(DecodeError::Malformed { reason }) => reason,
        other => panic!("not malformed: {other:?}"),
    }
}

/// A MESSAGE as a service sends it.
const FRAME: &str = concat!(
    r#"{"action":15,"id":"OIydMVjHGf:12","channel":"notifications","channelSerial":"e1da4NR6wBvHvS40131893:12","#,
    r#""connectionId":"OIydMVjHGf","flags":3,"timestamp":1700000000000,"messages":[{"id":"a:0","name":"greeting","#,
    r#""data":"{\"a\":[1,2,\"größe\"]}","encoding":"json","extras":{"headers":{"a":[1]}},"action":0,"#,
    r#""serial":"01700000000000-000@e1da4NR6wBvHvS40131893:012","version":{"serial":"s","timestamp":1}},"#,
    r#"{"name":"x"},{}]}"#,
);

#[test]
fn a_value_of_any_form_is_read_as_by_serde_json_in_every_field() {
    let fields = [
        "id",
        "name",
        "data",
        "encoding",
        "clientId",
        "timestamp",
        "extras",
        "action",
        "serial",
        "version",
        "annotations",
        "unknown",
    ];
    let mut read = 0;
    for field in fields {
        for value in VALUES {
            // serde's derived code reads a struct from an array, too.
            if matches!(field, "version" | "annotations") && value.starts_with('[') {
                continue;
            }
            for text in [
                format!(r#"{{"{field}":{value}}}"#),
                format!(r#"{{ "{field}" : {value} }}"#),
                format!(r#"{{"serial":"first","{field}":{value},"name":"last"}}"#),
                format!(r#"{{"x":1,"{field}":{value},"x":2,"clientId":"me"}}"#),
            ] {
                read += usize::from(reads_as_serde_does::<Message>(text.as_bytes()).is_some());
            }
        }
    }
    assert!(read > 500, "only {read} of the texts are valid");
}

#[test]
fn a_value_of_any_form_is_read_as_by_serde_json_in_objects_and_results() {
    for value in VALUES {
        for text in [
            format!(r#"{{"object":{{"counter":{{"count":{value}}}}}}}"#),
            format!(r#"{{"object":{{"tombstone":{value}}}}}"#),
            format!(r#"{{"object":{{"siteTimeserials":{{"site":{value}}}}}}}"#),
            format!(
                r#"{{"operation":{{"action":{value},"mapSet":{{"key":"k","value":{{"number":{value}}}}}}}}}"#
            ),
            format!(r#"{{"operation":{{"mapSet":{{"value":{{"boolean":{value}}}}}}}}}"#),
        ] {
            reads_as_serde_does::<ObjectMessage>(text.as_bytes());
        }
        let text = format!(r#"{{"serials":["a",{value},null]}}"#);
        reads_as_serde_does::<PublishResult>(text.as_bytes());
    }
}

#[test]
fn space_may_be_between_any_two_tokens_of_a_frame() {
    let expected = decode(FRAME.as_bytes()).unwrap();
    let (mut in_string, mut escaped) = (false, false);
    let mut everywhere = String::from(" \r\n\t");
    for (at, character) in FRAME.char_indices() {
        everywhere.push(character);
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
        if !in_string && matches!(character, '{' | '}' | '[' | ']' | ',' | ':' | '"') {
            everywhere.push_str("\n\t ");
            let (before, behind) = FRAME.split_at(at + 1);
            for space in [" ", "\n", "\t", "\r"] {
                assert_eq!(
                    decode(format!("{before}{space}{behind}").as_bytes()),
                    Ok(expected.clone())
                );
            }
            for other in ["\u{b}", "\u{c}", "\u{0}", "\u{a0}", "\u{feff}"] {
                let text = format!("{before}{other}{behind}");
                assert!(decode(text.as_bytes()).is_err(), "{text}");
            }
        }
    }
    assert_eq!(decode(everywhere.as_bytes()), Ok(expected));
}

#[test]
fn the_fields_of_a_frame_may_come_in_any_order() {
    let expected = decode(FRAME.as_bytes()).unwrap();
    let (head, items) = FRAME[1..FRAME.len() - 1].split_once(r#","messages":"#).unwrap();
    let mut members: Vec<String> = head.split(',').map(str::to_owned).collect();
    members.push(format!(r#""messages":{items}"#));
    members.push(r#""unknown":{"a":[null]}"#.to_owned());
    for _ in 0..members.len() {
        members.rotate_left(1);
        for _ in 0..2 {
            members.reverse();
            assert_eq!(
                decode(format!("{{{}}}", members.join(",")).as_bytes()),
                Ok(expected.clone())
            );
        }
    }
}

#[test]
fn a_field_that_comes_twice_is_refused_however_it_is_written() {
    let second = [
        r#""action":15"#,
        r#""id":"x""#,
        r#""i\u0064":"x""#,
        r#""channel":"c""#,
        r#""channelSerial":null"#,
        r#""flags":1"#,
        r#" "timestamp" : 1"#,
        r#""messages":[]"#,
        r#""error":{},"error":{}"#,
    ];
    for second in second {
        let name = second.trim().split('"').nth(1).unwrap().replace("\\u0064", "d");
        let first = FRAME.replacen('{', &format!("{{\"action\":15,{second},"), 1).replacen(
            "\"action\":15,",
            "",
            1,
        );
        let last = format!("{},{second}}}", &FRAME[..FRAME.len() - 1]);
        for text in [first, last] {
            let reason = reason(&text);
            assert!(
                reason.starts_with(&format!("duplicate field `{name}` at line 1 column ")),
                "{reason}"
            );
        }
    }
}

#[test]
fn the_other_fields_of_a_delivery_must_be_valid() {
    for (other, valid) in [
        (r#""error":{"code":40000}"#, true),
        (r#""error":5"#, false),
        (r#""params":{"a":"b"}"#, true),
        (r#""params":[]"#, false),
        (r#""presence":[{}]"#, true),
        (r#""presence":{}"#, false),
        (r#""surprise":5"#, true),
    ] {
        let text = format!("{},{other}}}", &FRAME[..FRAME.len() - 1]);
        assert_eq!(
            decode(text.as_bytes()).ok(),
            valid.then(|| decode(FRAME.as_bytes()).unwrap()),
            "{other}"
        );
    }
}

#[test]
fn errors_name_what_was_found_and_where() {
    let cases = [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("5", "invalid type: integer `5`, expected a map at line 1 column 1"),
        (
            "{\"action\":15,\n\"channel\":5}",
            "invalid type: integer `5`, expected a string at line 2 column 11",
        ),
        ("{\"action\":15,\n \"channel\" \"c\"}", "expected `:` at line 2 column 12"),
        ("{\"action\":15 \"channel\":\"c\"}", "expected `,` or `}` at line 1 column 14"),
        ("{\"action\":15,\n}", "trailing comma at line 2 column 1"),
        ("{\"action\":15,channel:1}", "key must be a string at line 1 column 14"),
        (
            "{\"action\":15,\"channel\":\"c\",\"messages\":[{} {}]}",
            "expected `,` or `]` at line 1 column 43",
        ),
        (
            "{\"action\":15,\"channel\":\"c\",\"messages\":[{},null]}",
            "invalid type: null, expected a map at line 1 column 46",
        ),
        (
            "{\"action\":15,\"channel\":\"c\",\"messages\":[",
            "EOF while parsing a value at line 1 column 39",
        ),
        ("{\"action\":15,\"channel\":\"c\\x\"}", "invalid escape at line 1 column 27"),
        (
            "{\"action\":15,\"channel\":\"größe\\ud800\\u0041\"}",
            "lone leading surrogate in hex escape",
        ),
        ("{\"action\":8}\n5", "trailing characters at line 2 column 1"),
        ("{\"action\":15}\n5", "trailing characters at line 2 column 1"),
    ];
    for (text, expected) in cases {
        let reason = reason(text);
        assert!(reason.starts_with(expected), "{text}: {reason}");
    }
}

/// A change of text.
#[derive(Clone, Debug)]
enum Damage {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Delete(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    Cut(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    // No array gets where a struct was: serde's derived code would read it.
    let byte = || {
        let likely = prop::sample::select(&b"\"\\{},:]-.e0519ntu \n\x00\x1f\x80\xff"[..]);
        prop_oneof![4 => likely, 1 => any::<u8>()]
            .prop_map(|byte| if byte == b'[' { b' ' } else { byte })
    };
    let at = any::<prop::sample::Index>;
    let one = prop_oneof![
        (at(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (at(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        (at(), 1..20_usize).prop_map(|(at, length)| Damage::Delete(at, length)),
        (at(), 1..20_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        at().prop_map(Damage::Cut),
    ];
    collection::vec(one, 0..3)
}

fn damaged(mut text: Vec<u8>, damage: &[Damage]) -> Vec<u8> {
    for damage in damage {
        if text.is_empty() {
            break;
        }
        let all = text.len();
        let part = |at: &prop::sample::Index, length: usize| {
            let at = at.index(all);
            at..(at + length).min(all)
        };
        match damage {
            Damage::Replace(at, byte) => text[at.index(all)] = *byte,
            Damage::Insert(at, byte) => text.insert(at.index(all), *byte),
            Damage::Delete(at, length) => drop(text.drain(part(at, *length))),
            Damage::Repeat(at, length) => {
                let part = part(at, *length);
                let copy = text[part.clone()].to_vec();
                text.splice(part.start..part.start, copy);
            }
            Damage::Cut(at) => text.truncate(at.index(all)),
        }
    }
    text
}

fn reads_damage_as_serde_does<T>(item: &T, damage: &[Damage])
where
    T: Item + DeserializeOwned + PartialEq + Debug,
{
    let text = damaged(codec::encode_item(Format::Json, item), damage);
    // Text that begins with another character may be an array of items.
    if text.first() == Some(&b'{') {
        reads_as_serde_does::<T>(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_items_are_read_as_by_serde_json(
        message in message(),
        presence in presence(),
        annotation in annotation(),
        result in result(),
        object in object_message(),
        damage in damage(),
    ) {
        reads_damage_as_serde_does::<Message>(&message, &damage);
        reads_damage_as_serde_does::<PresenceMessage>(&presence, &damage);
        reads_damage_as_serde_does::<Annotation>(&annotation, &damage);
        reads_damage_as_serde_does::<PublishResult>(&result, &damage);
        reads_damage_as_serde_does::<ObjectMessage>(&object, &damage);
    }

    #[test]
    fn a_damaged_frame_that_is_read_is_json(frame in server_frame(), damage in damage()) {
        let mut text = Vec::new();
        codec::encode_server_frame(Format::Json, &frame, &mut text);
        let text = damaged(text, &damage);
        if decode(&text).is_ok() {
            let json = serde_json::from_slice::<IgnoredAny>(&text);
            prop_assert!(json.is_ok(), "{json:?}: {}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn a_frame_reads_the_same_in_its_place_and_by_way_of_all_fields(
        frame in server_frame(),
        damage in damage(),
    ) {
        let mut text = Vec::new();
        codec::encode_server_frame(Format::Json, &frame, &mut text);
        let text = damaged(text, &damage);
        // Behind a space, the action is not the first thing in the frame.
        let apart = [b" ", &*text].concat();
        prop_assert_eq!(decode(&text).ok(), decode(&apart).ok());
    }
}
