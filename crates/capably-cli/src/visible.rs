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

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert!(matches!(visible("größe 🎉 [31m"), Cow::Borrowed("größe 🎉 [31m")));
        assert_eq!(visible("\x1b[2Ja\r\nb\t\0\x7f"), r"\u{1b}[2Ja\r\nb\t\u{0}\u{7f}");
        assert_eq!(visible("\u{9b}31m\u{202e}x\u{2066}"), r"\u{9b}31m\u{202e}x\u{2066}");
    }
}
