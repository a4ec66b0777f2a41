//! Finds the ends of strings and reads integers in JSON text, eight bytes at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x80 * ONES;

/// As many bytes are searched at once in long text.
const CHUNK: usize = 32;

/// The position of the first byte that cannot be in a JSON string as it is: a quote, a backslash or a control character.
/// The length of the text if there is none.
#[inline(always)]
pub(super) fn plain_length(text: &[u8]) -> usize {
    // Most strings are short: a few words find their end.
    let mut at = 0;
    while at < CHUNK {
        match special_in_word(text, at) {
            Some(Some(found)) => return at + found,
            Some(None) => at += 8,
            None => return at + special_in_tail(&text[at..]),
        }
    }
    long_plain_length(text)
}

#[inline(never)]
fn long_plain_length(text: &[u8]) -> usize {
    // Whether a chunk has such a byte is one question to the processor; where it is takes one for each word.
    let is_plain = |chunk: &[u8; CHUNK]| {
        chunk.iter().fold(true, |plain, byte| plain & !is_special(*byte))
    };
    let (chunks, _) = text.as_chunks::<CHUNK>();
    let mut at = chunks.iter().position(|chunk| !is_plain(chunk)).unwrap_or(chunks.len()) * CHUNK;
    loop {
        match special_in_word(text, at) {
            Some(Some(found)) => return at + found,
            Some(None) => at += 8,
            None => return at + special_in_tail(&text[at..]),
        }
    }
}

/// The position of the first special byte among the eight bytes here. The outer `None` if there are not as many.
#[inline(always)]
fn special_in_word(text: &[u8], at: usize) -> Option<Option<usize>> {
    let word = u64::from_le_bytes(*text.get(at..)?.first_chunk()?);
    // A byte below `n` is one whose high bit appears when `n` is subtracted. A borrow can only spoil bytes behind the
    // first that is found.
    let below = |word: u64, n: u64| word.wrapping_sub(n * ONES) & !word;
    let equal = |byte: u8| below(word ^ (u64::from(byte) * ONES), 1);
    let special = (equal(b'"') | equal(b'\\') | below(word, 0x20)) & HIGH_BITS;
    Some((special != 0).then_some((special.trailing_zeros() / 8) as usize))
}

#[inline(always)]
fn special_in_tail(text: &[u8]) -> usize {
    text.iter().position(|byte| is_special(*byte)).unwrap_or(text.len())
}

#[inline(always)]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The integer of at most 18 digits with which the text begins, and its length. `None` for any other number, and where
/// the text ends behind it.
#[inline(always)]
pub(super) fn integer(text: &[u8]) -> Option<(i64, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let digits = text.get(start..)?;
    let (mut value, mut length) = (0_i64, 0);
    // Times have 13 digits: eight of them are one step.
    if let Some(eight) = digits.first_chunk().and_then(eight_digits) {
        (value, length) = (eight.into(), 8);
    }
    let end = loop {
        let byte = *digits.get(length)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break byte;
        }
        if length == 18 {
            return None;
        }
        value = value * 10 + i64::from(digit);
        length += 1;
    };
    let has_more = matches!(end, b'.' | b'e' | b'E');
    // JSON has no leading zeros; minus zero is a float.
    let leading_zero = digits[0] == b'0' && (length > 1 || negative);
    if length == 0 || has_more || leading_zero {
        return None;
    }
    Some((if negative { -value } else { value }, start + length))
}

/// The number that these eight digits make.
#[inline(always)]
fn eight_digits(bytes: &[u8; 8]) -> Option<u32> {
    let word = u64::from_le_bytes(*bytes);
    let digits = word ^ (0x30 * ONES);
    // The high half of a byte is not zero if the byte is no digit, or becomes so when 6 is added.
    if (digits | digits.wrapping_add(6 * ONES)) & (0xf0 * ONES) != 0 {
        return None;
    }
    // Pairs of digits, pairs of those, and the two halves.
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let eight = fours.wrapping_mul(10_000).wrapping_add(fours >> 32);
    Some(eight as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_wherever_it_is() {
        for special in 0..=255_u8 {
            for length in [0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100] {
                for at in 0..length {
                    for around in [b'a', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff, 0xa2, 0xdc] {
                        let mut text = vec![around; length];
                        text[at] = special;
                        let expected = if is_special(special) { at } else { length };
                        assert_eq!(plain_length(&text), expected, "{special} at {at} of {length}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_of_several_special_bytes_is_found() {
        let specials = [0, 0x1f, b'"', b'\\'];
        for first in 0..70 {
            for one in specials {
                for other in specials {
                    let mut text = [b'x'; 80];
                    text[first] = one;
                    text[first + 1..].fill(other);
                    assert_eq!(plain_length(&text), first);
                }
            }
        }
    }

    #[test]
    fn integers_are_read_as_far_as_they_go() {
        let mut value = 0_i64;
        for length in 1..=18 {
            value = value * 10 + length % 10;
            for end in [",", "}", " ", "\"", "x"] {
                assert_eq!(
                    integer(format!("{value}{end}1").as_bytes()),
                    Some((value, length as usize))
                );
                assert_eq!(
                    integer(format!("-{value}{end}1").as_bytes()),
                    Some((-value, length as usize + 1))
                );
            }
        }
        assert_eq!(integer(b"0,"), Some((0, 1)));
    }

    #[test]
    fn other_numbers_are_not_integers() {
        for text in [
            "", ",", "-,", "1", "-1", "00,", "01,", "-0,", "-01,", "1.0,", "1e3,", "1E3,", "+1,",
            "12345678.0,", "12345678e1,", "1234567890123456789,", "00000000,", "x,", "12345678",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn eight_digits_are_only_digits() {
        for byte in 0..=255_u8 {
            for at in 0..8 {
                let mut bytes = *b"12345678";
                bytes[at] = byte;
                let expected = byte.is_ascii_digit().then(|| {
                    str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok())
                });
                assert_eq!(eight_digits(&bytes), expected.flatten(), "{bytes:?}");
            }
        }
    }
}
