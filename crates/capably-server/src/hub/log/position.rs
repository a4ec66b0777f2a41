//! Positions: the order of all entries of an app, and the serials that express them.

use capably_protocol::{Millis, Str};

/// The site code of this server, in serials and in `connectionDetails`.
pub(crate) const SITE: &str = "local";

pub(crate) use crate::engine::Position;

const TIME_DIGITS: usize = 14;
const COUNTER_DIGITS: usize = 3;
const INDEX_DIGITS: usize = 3;
const CHANNEL_SERIAL_LEN: usize = TIME_DIGITS + 1 + COUNTER_DIGITS + 1 + SITE.len();

/// The positions of one millisecond. Further ones count into the next.
const PER_MILLISECOND: u64 = 1000;

/// The most messages in one frame, so that their indexes have a fixed width.
pub(crate) const MAX_ITEMS: usize = 1000;

impl Position {
    /// The `channelSerial` of the frame. It has a fixed width, so that serials sort as texts.
    pub(crate) fn channel_serial(self) -> Str {
        self.text(None)
    }

    /// The `serial` of the frame's message at `index`.
    pub(crate) fn message_serial(self, index: usize) -> Str {
        self.text(Some(index))
    }

    /// The `serial` of the frame's first message, and the `channelSerial`, which is the front part of it.
    pub(crate) fn first_serials(self) -> (Str, Str) {
        let (bytes, len) = self.digits(Some(0));
        let text =
            |len| Str::from_ascii(&bytes, len).expect("digits and punctuation are ASCII, and few");
        (text(len), text(CHANNEL_SERIAL_LEN))
    }

    /// The position in a channel serial, or in the front part of a message serial.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let time = digits(text.get(..TIME_DIGITS)?)?;
        let rest = text[TIME_DIGITS..].strip_prefix(b"-")?;
        let counter = digits(rest.get(..COUNTER_DIGITS)?)?;
        let site = rest[COUNTER_DIGITS..].strip_prefix(b"@")?;
        let site_end = site.iter().position(|byte| *byte == b':').unwrap_or(site.len());
        (&site[..site_end] == SITE.as_bytes()).then_some(Self(time * PER_MILLISECOND + counter))
    }

    /// The position and the index in a message serial. A channel serial counts as the index after the last message.
    pub(crate) fn parse_message(text: &str) -> Option<(Self, usize)> {
        let position = Self::parse(text)?;
        let index = match text.split_once(':') {
            Some((_, index)) => index.parse().ok()?,
            None => usize::MAX,
        };
        Some((position, index))
    }

    /// The position so many places after this one.
    pub(crate) fn plus(self, places: u64) -> Self {
        Self(self.0.saturating_add(places))
    }

    fn text(self, index: Option<usize>) -> Str {
        let (bytes, len) = self.digits(index);
        Str::from_ascii(&bytes, len).expect("digits and punctuation are ASCII, and few")
    }

    /// The text, and its length. Each entry has two of them, so nothing is allocated.
    fn digits(self, index: Option<usize>) -> ([u8; Str::INLINE], usize) {
        const DASH: usize = TIME_DIGITS;
        const COUNTER_END: usize = DASH + 1 + COUNTER_DIGITS;
        const COLON: usize = CHANNEL_SERIAL_LEN;
        const INDEX_END: usize = COLON + 1 + INDEX_DIGITS;
        let mut bytes = [0; Str::INLINE];
        put_digits(&mut bytes[..DASH], self.0 / PER_MILLISECOND);
        bytes[DASH] = b'-';
        put_digits(&mut bytes[DASH + 1..COUNTER_END], self.0 % PER_MILLISECOND);
        bytes[COUNTER_END] = b'@';
        bytes[COUNTER_END + 1..COLON].copy_from_slice(SITE.as_bytes());
        let Some(index) = index else { return (bytes, COLON) };
        bytes[COLON] = b':';
        put_digits(&mut bytes[COLON + 1..INDEX_END], index as u64);
        (bytes, INDEX_END)
    }
}

/// A clock that issues positions, each after the last.
#[derive(Debug)]
pub(crate) struct SerialClock {
    last: Position,
}

impl SerialClock {
    /// A clock that issues positions after `now`.
    pub(crate) fn new(now: Millis) -> Self {
        Self { last: at(now) }
    }

    /// The last position.
    pub(crate) fn last(&self) -> Position {
        self.last
    }

    /// The next position: of this millisecond, or after the last position if the wall clock stands or goes back.
    pub(crate) fn next(&mut self, now: Millis) -> Position {
        self.last = at(now).max(self.last.plus(1));
        self.last
    }
}

/// The first position of a millisecond.
fn at(now: Millis) -> Position {
    Position(u64::try_from(now).unwrap_or(0).saturating_mul(PER_MILLISECOND))
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |number: u64, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
    })
}

/// Fills `text` with the last digits of a number.
fn put_digits(text: &mut [u8], number: u64) {
    let mut rest = number;
    let mut pairs = text.rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if let [digit] = pairs.into_remainder() {
        *digit = b'0' + (rest % 10) as u8;
    }
}

/// The texts of the numbers below 100: half as many divisions as digit by digit.
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_their_texts_have_the_same_order() {
        let mut clock = SerialClock::new(1_726_585_978_590);
        let mut last = clock.last().channel_serial();
        // More positions than the counter has in one millisecond, then a clock that is set back.
        for now in std::iter::repeat_n(1_726_585_978_590, 2500).chain([1_726_585_978_000; 10]) {
            let next = clock.next(now).channel_serial();
            assert!(next > last, "{next} after {last}");
            assert_eq!(next.len(), last.len());
            last = next;
        }
        assert_eq!(last, "01726585978592-510@local");
    }

    #[test]
    fn serials_survive_a_round_trip() {
        let position = SerialClock::new(1_726_585_978_590).next(1_726_585_978_590);
        assert_eq!(position.channel_serial(), "01726585978590-001@local");
        assert_eq!(position.message_serial(7), "01726585978590-001@local:007");
        let (message_serial, channel_serial) = position.first_serials();
        assert_eq!(message_serial, position.message_serial(0));
        assert_eq!(channel_serial, position.channel_serial());
        assert_eq!(Position::parse("01726585978590-001@local"), Some(position));
        assert_eq!(Position::parse_message("01726585978590-001@local:007"), Some((position, 7)));
        for garbage in
            ["", "x", "01726585978590-001", "01726585978590-001@other", "0172658597859é-001@local"]
        {
            assert_eq!(Position::parse(garbage), None, "{garbage}");
        }
    }
}
