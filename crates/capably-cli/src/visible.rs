//! Text of others, shown in a terminal.

use std::borrow::Cow;

/// The text with its control characters escaped: a sender must not move the cursor, clear the screen or begin a line of its own.
/// So are the characters that change the direction of the text around them.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// The JSON with the same characters escaped as JSON escapes them: its meaning stays the same.
pub(crate) fn visible_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_hidden) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_hidden(character) {
            // They stand only within strings, and all are of the first 65,536 characters.
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert!(matches!(visible("größe 🎉 [31m"), Cow::Borrowed("größe 🎉 [31m")));
        assert_eq!(visible("\x1b[2Ja\r\nb\t\0\x7f"), r"\u{1b}[2Ja\r\nb\t\u{0}\u{7f}");
        assert_eq!(visible("\u{61c}\u{200f}"), r"\u{61c}\u{200f}");
        assert_eq!(visible("\u{9b}31m\u{202e}x\u{2066}"), r"\u{9b}31m\u{202e}x\u{2066}");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value =
            serde_json::json!({ "a\u{9b}": "\u{1b}]52;c;eA==\u{7}\r\u{7f}\u{85}\u{202e}größe 🎉" });
        let shown = visible_json(&value.to_string()).into_owned();
        assert!(!shown.contains(is_hidden), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(matches!(visible_json("{\"a\":\"ö\"}"), Cow::Borrowed(_)));
    }
}
