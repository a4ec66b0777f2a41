//! The escapes of JSON strings, in both directions.

use super::scan::{first_of, plain_length, specials};

/// The text of a JSON string, without its escapes, and the length of the string with its closing quote. `None` if it
/// ends early or is not valid. The text is stored in `space`, which is used again for the next string.
pub(super) fn unescape<'s>(string: &[u8], space: &'s mut Vec<u8>) -> Option<(&'s [u8], usize)> {
    // Texts with escapes are mostly JSON themselves, with an escape every few bytes. So every word is copied whole, and
    // its end is written over: a copy of exactly the bytes before the escape takes several times longer.
    const WORD: usize = 8;
    const LONGEST_CHARACTER: usize = 4;
    let (mut at, mut end) = (0, 0);
    loop {
        if space.len() < end + WORD + LONGEST_CHARACTER {
            space.resize((2 * end).max(256), 0);
        }
        let place = space.get_mut(end..)?.first_chunk_mut::<WORD>()?;
        let rest = string.get(at..)?;
        let plain = match rest.first_chunk() {
            Some(word) => {
                *place = *word;
                match specials(word) {
                    0 => WORD,
                    special => first_of(special),
                }
            }
            None => {
                let plain = plain_length(rest);
                place.iter_mut().zip(&rest[..plain]).for_each(|(place, byte)| *place = *byte);
                plain
            }
        };
        at += plain;
        end += plain;
        if plain == WORD {
            continue;
        }
        match rest.get(plain)? {
            b'"' => return Some((&space[..end], at + 1)),
            b'\\' => {
                let escape = rest.get(plain + 1..)?;
                match short_escape(*escape.first()?) {
                    Some(byte) => {
                        *space.get_mut(end)? = byte;
                        at += 2;
                        end += 1;
                    }
                    None => {
                        let (character, length) = unicode(escape)?;
                        end += character.encode_utf8(space.get_mut(end..)?).len();
                        at += 1 + length;
                    }
                }
            }
            // A control character.
            _ => return None,
        }
    }
}

/// The character of an escape of one letter.
#[inline(always)]
fn short_escape(letter: u8) -> Option<u8> {
    Some(match letter {
        b'"' | b'\\' | b'/' => letter,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}

/// `u` and four hexadecimal digits; twice, with a backslash between, for a character that UTF-16 has as a pair.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let first = code_unit(text)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 5));
    }
    let second = code_unit(text.get(5..)?.strip_prefix(b"\\")?)?;
    if !(0xd800..0xdc00).contains(&first) || !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Some((char::from_u32(code)?, 11))
}

/// The number that `u` and the four digits behind it make.
fn code_unit(text: &[u8]) -> Option<u32> {
    let digits: &[u8; 4] = text.strip_prefix(b"u")?.first_chunk()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

/// Appends text to `out`, with escapes where a JSON string needs them.
#[inline]
pub(super) fn escape_to(out: &mut Vec<u8>, text: &[u8]) {
    let plain = plain_length(text);
    out.extend_from_slice(&text[..plain]);
    if plain < text.len() {
        escape_rest(out, &text[plain..]);
    }
}

/// As [`escape_to`], for text that begins with a character to escape.
#[inline(never)]
fn escape_rest(out: &mut Vec<u8>, mut text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    while let Some((special, rest)) = text.split_first() {
        let short = match special {
            b'"' | b'\\' => Some(*special),
            0x08 => Some(b'b'),
            0x0c => Some(b'f'),
            b'\n' => Some(b'n'),
            b'\r' => Some(b'r'),
            b'\t' => Some(b't'),
            _ => None,
        };
        match short {
            Some(short) => out.extend_from_slice(&[b'\\', short]),
            None => {
                let digits = [special >> 4, special & 0xf].map(|half| HEX[usize::from(half)]);
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
            }
        }
        let plain = plain_length(rest);
        out.extend_from_slice(&rest[..plain]);
        text = &rest[plain..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        let each =
            (0..0x250_u32).chain([0x2028, 0xd7ff, 0xe000, 0xffff, 0x1_0000, 0x1_f980, 0x10_ffff]);
        let mut texts: Vec<String> = each
            .filter_map(char::from_u32)
            .flat_map(|c| [c.to_string(), format!("a{c}{c}b")])
            .collect();
        texts.push(r#"{"a":"\n"},"#.repeat(50));
        texts.push("plain".repeat(50));
        texts.push("\u{1}\u{10}\u{1f}\u{7f}größe 🦀\\\"\r\n\t\x08\x0c/".repeat(9));
        texts.push(String::new());
        texts
    }

    #[test]
    fn text_is_escaped_as_by_serde_json() {
        for text in texts() {
            let mut out = vec![b'"'];
            escape_to(&mut out, text.as_bytes());
            out.push(b'"');
            assert_eq!(out, serde_json::to_vec(&text).unwrap(), "{text:?}");
        }
    }

    #[test]
    fn escaped_text_is_read_as_it_was() {
        for text in texts() {
            let units = |c: char| -> String {
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect()
            };
            let long: String = text.chars().map(units).collect();
            let short = serde_json::to_string(&text).unwrap();
            for string in [&format!("{long}\""), &short[1..]] {
                for (behind, mut space) in [("", vec![]), (", \"more\"", vec![7; 1000])] {
                    let read = format!("{string}{behind}");
                    let read = unescape(read.as_bytes(), &mut space);
                    assert_eq!(read, Some((text.as_bytes(), string.len())), "{string}");
                }
            }
        }
    }

    #[test]
    fn a_string_is_refused_as_by_serde_json() {
        for string in [
            "",
            "a",
            "\\",
            "\\\"",
            "\\x\"",
            "\\u",
            "\\u12\"",
            "\\u12g4\"",
            "\\u+123\"",
            "\n\"",
            "\\ud800\"",
            "\\udc00\"",
            "\\ud800x\"",
            "\\ud800\\n\"",
            "\\ud800\\u0041\"",
            "\\ud800\\ud800\"",
            "\\ud800\\",
            "\\ud800\\u",
            "\\ud83e\\udd8",
            "\\U0041\"",
            "\\u004\u{b2}\"",
            "\u{0}\"",
        ] {
            let text = format!("\"{string}");
            assert!(serde_json::from_str::<String>(&text).is_err(), "{text}");
            assert_eq!(unescape(string.as_bytes(), &mut Vec::new()), None, "{text}");
        }
    }
}
