//! Finds the ends of strings and reads integers in JSON text, eight bytes at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x80 * ONES;

/// As many bytes are searched word by word, then as many at once.
const CHUNK: usize = 64;

/// The position of the first byte that cannot be in a JSON string as it is: a quote, a backslash or a control
/// character. The length of the text if there is none.
#[inline(always)]
pub(super) fn plain_length(text: &[u8]) -> usize {
    // Most strings are short: a few words find their end.
    let mut at = 0;
    while at < CHUNK
        && let Some(special) = specials_at(text, at)
    {
        if special != 0 {
            return at + first_of(special);
        }
        at += 8;
    }
    long_plain_length(text, at)
}

/// As [`plain_length`], for text that is plain up to `at`.
#[inline(never)]
fn long_plain_length(text: &[u8], mut at: usize) -> usize {
    // Whether a chunk has such a byte takes a few instructions for each 16 bytes; where it is takes more for each word.
    // With an array for the answers, the compiler gives all of them at once. A loop fills it: what `map` of an array calls
    // for each byte is not inlined without link-time optimisation.
    let is_plain = |chunk: &[u8; CHUNK]| {
        let mut specials = [0; CHUNK];
        for (special, &byte) in specials.iter_mut().zip(chunk) {
            *special = u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
        }
        specials.iter().fold(0, |any, special| any | special) == 0
    };
    let (chunks, _) = text[at..].as_chunks::<CHUNK>();
    at += chunks.iter().take_while(|chunk| is_plain(chunk)).count() * CHUNK;
    while let Some(special) = specials_at(text, at) {
        if special != 0 {
            return at + first_of(special);
        }
        at += 8;
    }
    // The last word overlaps the one before, whose bytes are plain.
    if let Some(last) = text.last_chunk() {
        return match specials(last) {
            0 => text.len(),
            special => text.len() - last.len() + first_of(special),
        };
    }
    text.iter().position(|byte| is_special(*byte)).unwrap_or(text.len())
}

/// The [`specials`] among the eight bytes here. `None` if there are not as many.
#[inline(always)]
fn specials_at(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..)?.first_chunk().map(specials)
}

/// The high bits of the special bytes among these; only the first is certain.
#[inline(always)]
pub(super) fn specials(bytes: &[u8; 8]) -> u64 {
    let word = u64::from_le_bytes(*bytes);
    // A byte below 0x80 gets its high bit if a larger number is subtracted. A borrow spoils only bytes behind a special
    // one. Exchanging 0x20 and 0x22 puts the quote right behind the control characters.
    let below = |word: u64, limit: u64| word.wrapping_sub(limit * ONES);
    let quote_or_control = below(word ^ (0x02 * ONES), 0x21);
    let backslash = below(word ^ (u64::from(b'\\') * ONES), 1);
    (quote_or_control | backslash) & !word & HIGH_BITS
}

/// The position of the byte whose high bit comes first.
#[inline(always)]
pub(super) fn first_of(high_bits: u64) -> usize {
    (high_bits.trailing_zeros() / 8) as usize
}

#[inline(always)]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The integer of at most 15 digits with which the text begins, and its length. `None` for any other number, and near
/// the end of the text.
#[inline(always)]
pub(super) fn integer(text: &[u8]) -> Option<(i64, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let digits = text.get(start..)?;
    let (mut value, mut length) = leading_digits(digits.first_chunk()?);
    if length == 8 {
        // Times have 13 digits.
        let (more, more_length) = leading_digits(digits.get(8..)?.first_chunk()?);
        value = value * POWERS.get(more_length)? + more;
        length += more_length;
    }
    let has_more = matches!(digits.get(length)?, b'.' | b'e' | b'E');
    // JSON has no leading zeros; minus zero is a float.
    let leading_zero = digits.first() == Some(&b'0') && (length > 1 || negative);
    if length == 0 || has_more || leading_zero {
        return None;
    }
    let value = value as i64;
    Some((if negative { -value } else { value }, start + length))
}

/// The powers of ten for less than eight digits.
const POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The number that the digits at the beginning of these bytes make, and how many they are.
#[inline(always)]
fn leading_digits(bytes: &[u8; 8]) -> (u64, usize) {
    let digits = u64::from_le_bytes(*bytes) ^ (0x30 * ONES);
    // The high half of a byte is not zero if the byte is no digit, or becomes so when 6 is added.
    let others = (digits | digits.wrapping_add(6 * ONES)) & (0xf0 * ONES);
    if others == 0 {
        return (eight_digits(digits), 8);
    }
    let count = first_of(others);
    // Zeros take the place of the digits that are missing in front.
    let aligned = digits.checked_shl(64 - 8 * count as u32).unwrap_or_default();
    (eight_digits(aligned), count)
}

/// The number that eight digits make, from the first byte on.
#[inline(always)]
fn eight_digits(digits: u64) -> u64 {
    // Pairs of digits, pairs of those, and the two halves.
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
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
        for length in 1..=15_usize {
            value = value * 10 + length as i64 % 10;
            for end in [",", "}", " ", "\"", "x", "/", ":", "\u{ff}"] {
                let text = |sign| format!("{sign}{value}{end}1234567890123456");
                assert_eq!(integer(text("").as_bytes()), Some((value, length)));
                assert_eq!(integer(text("-").as_bytes()), Some((-value, length + 1)));
            }
        }
        assert_eq!(integer(b"0,      "), Some((0, 1)));
        assert_eq!(integer(b"9999999999,     "), Some((9_999_999_999, 10)));
    }

    #[test]
    fn other_numbers_are_not_integers() {
        for text in [
            "",
            ",",
            "-,",
            "-",
            "--1",
            "00,",
            "01,",
            "-0,",
            "-01,",
            "1.0,",
            "1e3,",
            "1E3,",
            "+1,",
            "12345678.0,",
            "12345678e1,",
            "1234567890123456,",
            "12345678901234567890,",
            "00000000,",
            "x,",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
            assert_eq!(integer(format!("{text}                ").as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn digits_end_at_any_other_byte() {
        for byte in (0..=255_u8).filter(|byte| !byte.is_ascii_digit()) {
            for at in 0..8 {
                let mut bytes = *b"12345678";
                bytes[at] = byte;
                let expected = 12_345_678 / 10_u64.pow(8 - at as u32);
                assert_eq!(leading_digits(&bytes), (expected, at), "{bytes:?}");
            }
        }
        assert_eq!(leading_digits(b"98765432"), (98_765_432, 8));
    }
}
