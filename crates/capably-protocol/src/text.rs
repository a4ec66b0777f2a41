//! The strings of frames: mostly short, and cheap to clone at any length.

use std::{
    borrow::{Borrow, Cow},
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    str::Utf8Error,
    sync::Arc,
};

use bytes::Bytes;
use bytestring::ByteString;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};

/// The most bytes that are stored in place: enough for ids, and for the names of most channels, clients and messages.
const INLINE: usize = 38;

/// A string that is cheap to clone: stored in place when it is short, otherwise a shared slice, often of the frame it
/// came in.
///
/// A short string needs neither an allocation nor a reference count; those are most of the cost of decoding a frame.
/// A long string is never copied.
#[derive(Clone)]
pub struct Str(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(ByteString),
}

impl Str {
    /// The empty string.
    pub const fn new() -> Self {
        Self(Repr::Inline { len: 0, bytes: [0; INLINE] })
    }

    /// A string that lives as long as the program.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Repr::Shared(ByteString::from_static(text)))
    }

    /// The most bytes of a string that needs no memory besides itself.
    pub const INLINE: usize = INLINE;

    /// The first `len` of these bytes, which are ASCII. For short strings that are made often: it allocates nothing,
    /// and checks the bytes eight at a time. `None` if there are not as many, or another character is among them.
    ///
    /// ```
    /// use capably_protocol::Str;
    ///
    /// let mut bytes = [0; Str::INLINE];
    /// bytes[..3].copy_from_slice(b"a:7");
    /// assert_eq!(Str::from_ascii(&bytes, 3).as_deref(), Some("a:7"));
    /// ```
    #[inline]
    pub fn from_ascii(bytes: &[u8; Self::INLINE], len: usize) -> Option<Self> {
        let fits = len <= INLINE && starts_in_ascii(bytes, len);
        fits.then(|| Self(Repr::Inline { len: len as u8, bytes: *bytes }))
    }

    /// The text of `part`, a slice of `all`; shared with it when it is long.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn from_slice_of(all: &Bytes, part: &[u8]) -> Result<Self, Utf8Error> {
        let mut text = Self::new();
        text.set_slice_of(all, part)?;
        Ok(text)
    }

    /// As [`from_slice_of`](Self::from_slice_of), in place: a string that is moved right after it was written in pieces
    /// makes the processor wait for those writes.
    ///
    /// # Errors
    /// It is not UTF-8.
    #[inline(always)]
    pub(crate) fn set_slice_of(&mut self, all: &Bytes, part: &[u8]) -> Result<(), Utf8Error> {
        // Copying INLINE bytes takes a few instructions, because their number is constant; copying only the text takes
        // a call. The bytes behind the text are never read.
        let start = (part.as_ptr() as usize).wrapping_sub(all.as_ptr() as usize);
        if part.len() > INLINE {
            return self.set_shared(all.slice_ref(part));
        }
        if let Some(window) = all.get(start..).and_then(|rest| rest.first_chunk())
            && starts_in_ascii(window, part.len())
        {
            self.set_inline(part.len() as u8, window);
            return Ok(());
        }
        self.set_short(part)
    }

    /// As [`set_slice_of`](Self::set_slice_of), for a part of text that begins and ends with a whole character.
    #[inline(always)]
    pub(crate) fn set_part_of(&mut self, all: &ByteString, part: &[u8]) {
        let start = (part.as_ptr() as usize).wrapping_sub(all.as_ptr() as usize);
        if part.len() > INLINE {
            return self.set_shared_part(all, start, part.len());
        }
        match all.as_bytes().get(start..).and_then(|rest| rest.first_chunk()) {
            Some(window) => self.set_inline(part.len() as u8, window),
            None => self.set_inline(part.len() as u8, &padded(part)),
        }
    }

    #[inline(never)]
    fn set_shared_part(&mut self, all: &ByteString, start: usize, len: usize) {
        let part = all.get(start..start + len).unwrap_or_default();
        self.store_shared(all.slice_ref(part));
    }

    #[inline(never)]
    fn set_short(&mut self, part: &[u8]) -> Result<(), Utf8Error> {
        str::from_utf8(part)?;
        self.set_inline(part.len() as u8, &padded(part));
        Ok(())
    }

    #[inline(never)]
    fn set_shared(&mut self, bytes: Bytes) -> Result<(), Utf8Error> {
        self.store_shared(ByteString::try_from(bytes)?);
        Ok(())
    }

    fn store_shared(&mut self, text: ByteString) {
        match &mut self.0 {
            Repr::Shared(place) => *place = text,
            Repr::Inline { .. } => self.0 = Repr::Shared(text),
        }
    }

    #[inline(always)]
    fn set_inline(&mut self, length: u8, text: &[u8; INLINE]) {
        match &mut self.0 {
            Repr::Inline { len, bytes } => {
                *len = length;
                *bytes = *text;
            }
            Repr::Shared(_) => self.0 = Repr::Inline { len: length, bytes: *text },
        }
    }

    /// Sets `place` to `text`, a colon and this number.
    #[inline]
    pub(crate) fn put_numbered(place: &mut Option<Self>, text: &Self, number: usize) {
        *place = Some(Self::new());
        if let Some(place) = place {
            place.set_numbered(text, number);
        }
    }

    #[inline]
    fn set_numbered(&mut self, text: &Self, number: usize) {
        if let Repr::Inline { len, bytes } = &text.0
            && let (end, digits @ 1..=3) = (usize::from(*len), decimal_digits(number))
            && end + 1 + digits <= INLINE
        {
            self.set_inline(*len + 1 + digits as u8, bytes);
            if let Repr::Inline { bytes, .. } = &mut self.0 {
                bytes[end] = b':';
                let mut rest = number;
                for place in bytes[end + 1..=end + digits].iter_mut().rev() {
                    *place = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
            }
            return;
        }
        *self = format!("{text}:{number}").into();
    }

    /// The string as bytes; shared when it is long.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Inline { len, bytes } => Bytes::copy_from_slice(&bytes[..usize::from(len)]),
            Repr::Shared(text) => text.into_bytes(),
        }
    }

    /// The same text in memory of its own: a slice of a frame that is kept for long would keep the whole frame.
    #[must_use]
    pub fn unshared(&self) -> Self {
        match &self.0 {
            Repr::Inline { .. } => self.clone(),
            Repr::Shared(text) => Self::from(&**text),
        }
    }

    /// As [`unshared`](Self::unshared), without a copy of a short string.
    #[must_use]
    pub fn into_unshared(self) -> Self {
        match self.0 {
            Repr::Inline { .. } => self,
            Repr::Shared(text) => Self::from(&*text),
        }
    }

    /// The string.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // Bytes are checked when they are stored, so this check cannot fail. Only `unsafe` could omit
            // it, which is forbidden.
            Repr::Inline { .. } => str::from_utf8(self.bytes()).unwrap_or_default(),
            Repr::Shared(text) => text,
        }
    }

    /// Its length in bytes. The length of [`as_str`](Self::as_str) costs a check of the bytes; this does not.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether it has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Shared(text) => text.as_bytes(),
        }
    }

    /// This text stored in place, if it fits.
    fn inline(text: &str) -> Option<Self> {
        let len = u8::try_from(text.len()).ok().filter(|len| usize::from(*len) <= INLINE)?;
        Some(Self(Repr::Inline { len, bytes: padded(text.as_bytes()) }))
    }
}

/// The number of decimal digits of a number below 1,000; 4 for a larger one.
fn decimal_digits(number: usize) -> usize {
    match number {
        0..10 => 1,
        10..100 => 2,
        100..1000 => 3,
        _ => 4,
    }
}

/// Whether the first `len` of these bytes are all ASCII, without a branch for each; false if there are not
/// as many.
#[inline(always)]
fn starts_in_ascii(bytes: &[u8; INLINE], len: usize) -> bool {
    let Some(masks) = HIGH_BITS.get(len) else { return false };
    let mut high = 0;
    for (mask, start) in masks.iter().zip(WORDS) {
        if let Some(word) = bytes[start..].first_chunk() {
            high |= u64::from_le_bytes(*word) & mask;
        }
    }
    high == 0
}

/// The offsets of the words that cover [`INLINE`] bytes; the last word overlaps the one before.
const WORDS: [usize; 5] = [0, 8, 16, 24, INLINE - 8];

/// For each length of text, the high bits of its bytes in each of the [`WORDS`].
static HIGH_BITS: [[u64; 5]; INLINE + 1] = {
    let mut masks = [[0; 5]; INLINE + 1];
    let mut len = 0;
    while len <= INLINE {
        let mut word = 0;
        while word < WORDS.len() {
            let mut byte = 0;
            while byte < 8 && WORDS[word] + byte < len {
                masks[len][word] |= 0x80 << (8 * byte);
                byte += 1;
            }
            word += 1;
        }
        len += 1;
    }
    masks
};

/// At most [`INLINE`] bytes, and zeros behind them.
fn padded(text: &[u8]) -> [u8; INLINE] {
    let mut bytes = [0; INLINE];
    for (place, byte) in bytes.iter_mut().zip(text) {
        *place = *byte;
    }
    bytes
}

impl Default for Str {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Str {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<[u8]> for Str {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self::inline(text).unwrap_or_else(|| Self(Repr::Shared(text.into())))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self::inline(&text).unwrap_or_else(|| Self(Repr::Shared(text.into())))
    }
}

impl From<&String> for Str {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&Self> for Str {
    fn from(text: &Self) -> Self {
        text.clone()
    }
}

impl From<Cow<'_, str>> for Str {
    fn from(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<Box<str>> for Str {
    fn from(text: Box<str>) -> Self {
        String::from(text).into()
    }
}

impl From<Arc<str>> for Str {
    /// Long text is copied: the two are shared in different ways.
    fn from(text: Arc<str>) -> Self {
        (&*text).into()
    }
}

impl From<&Arc<str>> for Str {
    fn from(text: &Arc<str>) -> Self {
        (&**text).into()
    }
}

impl From<Str> for String {
    fn from(text: Str) -> Self {
        text.as_str().to_owned()
    }
}

impl TryFrom<Bytes> for Str {
    type Error = Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Self, Utf8Error> {
        Self::from_slice_of(&bytes, &bytes)
    }
}

impl TryFrom<Vec<u8>> for Str {
    type Error = Utf8Error;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Utf8Error> {
        Self::try_from(Bytes::from(bytes))
    }
}

impl PartialEq for Str {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Str {}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<String> for Str {
    fn eq(&self, other: &String) -> bool {
        self == other.as_str()
    }
}

impl PartialOrd for Str {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Str {
    fn cmp(&self, other: &Self) -> Ordering {
        // The order of UTF-8 is that of its text.
        self.bytes().cmp(other.bytes())
    }
}

impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl Serialize for Str {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Str {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not by way of a `String`: most strings are short, and would need an allocation only for that.
        deserializer.deserialize_str(StrVisitor)
    }
}

struct StrVisitor;

impl Visitor<'_> for StrVisitor {
    type Value = Str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Str, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Str, E> {
        Ok(text.into())
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Str, E> {
        let invalid = |_| E::invalid_value(Unexpected::Bytes(bytes), &self);
        str::from_utf8(bytes).map(Str::from).map_err(invalid)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    fn samples() -> Vec<String> {
        let lengths = [0, 1, INLINE - 1, INLINE, INLINE + 1, 1000];
        let ascii = lengths.map(|length| "a".repeat(length));
        ascii.into_iter().chain(["größe 🦀".to_owned(), "🦀".repeat(10)]).collect()
    }

    #[test]
    fn an_unshared_text_is_equal_and_shares_nothing() {
        // An empty text has no memory, so it has no owner to be unique.
        for text in samples().into_iter().filter(|text| !text.is_empty()) {
            let frame = Bytes::from(text.clone());
            let slice = Str::from_slice_of(&frame, &frame).expect("UTF-8");
            let copy = slice.unshared();
            drop(slice);
            assert!(frame.is_unique() && copy == text);
        }
    }

    #[test]
    fn holds_any_text() {
        for text in samples() {
            for held in [
                Str::from(text.as_str()),
                Str::from(text.clone()),
                Str::from(&text),
                Str::from(&Str::from(&text)),
                Str::from(Cow::Borrowed(text.as_str())),
                Str::from(Cow::<str>::Owned(text.clone())),
                Str::from(text.clone().into_boxed_str()),
                Str::from(Arc::<str>::from(text.as_str())),
                Str::from(&Arc::<str>::from(text.as_str())),
                Str::try_from(Bytes::from(text.clone())).unwrap(),
                serde_json::from_value(text.clone().into()).unwrap(),
            ] {
                assert_eq!(&*held, text);
                assert_eq!(held.clone(), held);
                assert_eq!(held.clone().into_bytes(), text);
                assert_eq!(serde_json::to_value(&held).unwrap(), text.as_str());
                assert_eq!(format!("{held} {held:?}"), format!("{text} {text:?}"));
            }
        }
    }

    #[test]
    fn a_static_text_is_as_any_other() {
        let (shared, inline) = (Str::from_static("abc"), Str::from("abc"));
        assert_eq!(shared, inline);
        assert_eq!(shared.cmp(&inline), Ordering::Equal);
        let map = HashMap::from([(shared, 1)]);
        assert_eq!((map.get(&inline), map.get("abc")), (Some(&1), Some(&1)));
    }

    #[test]
    fn the_order_is_that_of_text() {
        let mut sorted = samples();
        sorted.sort();
        let map: BTreeMap<Str, ()> =
            samples().into_iter().map(|text| (Str::from(text), ())).collect();
        assert_eq!(map.keys().map(|text| text.to_string()).collect::<Vec<_>>(), sorted);
    }

    #[test]
    fn texts_are_numbered() {
        for length in [0, INLINE - 5, INLINE - 4, INLINE - 3, INLINE - 2, INLINE, INLINE + 1] {
            for number in [0, 9, 10, 99, 100, 123, 999, 1000, 12_345] {
                for mut place in [Str::new(), "b".repeat(INLINE + 1).into()] {
                    let text = "a".repeat(length);
                    place.set_numbered(&text.as_str().into(), number);
                    assert_eq!(&*place, format!("{text}:{number}"));
                }
            }
        }
    }

    #[test]
    fn a_place_takes_any_slice() {
        let frame = samples().concat();
        let frame = Bytes::from(frame);
        let text = ByteString::try_from(frame.clone()).unwrap();
        for sample in samples() {
            let start =
                frame.windows(sample.len().max(1)).position(|part| part == sample.as_bytes());
            let start = start.unwrap_or_default();
            for mut place in [Str::new(), "b".repeat(INLINE + 1).into()] {
                place.set_slice_of(&frame, &frame[start..start + sample.len()]).unwrap();
                assert_eq!(&*place, sample);
                place.set_part_of(&text, &text.as_bytes()[start..start + sample.len()]);
                assert_eq!(&*place, sample);
            }
        }
        for bad in [&[0xff][..], b"abcdefgh\xc3", b"abcdefghabcdefghabcdefghabcdefghabcde\x80"] {
            let frame = Bytes::from([bad, &[b'a'; 100]].concat());
            assert!(Str::new().set_slice_of(&frame, &frame[..bad.len()]).is_err());
            // The bytes behind a text are not checked.
            Str::new().set_slice_of(&frame, &frame[..bad.len() - 1]).unwrap();
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused() {
        for bytes in [vec![0xff], vec![b'a'; 100].into_iter().chain([0xc3]).collect()] {
            assert!(Str::try_from(Bytes::from(bytes)).is_err());
        }
    }

    #[test]
    fn long_text_is_shared_with_its_frame() {
        let frame = Bytes::from("x".repeat(100));
        let text = Str::from_slice_of(&frame, &frame[10..90]).unwrap();
        assert_eq!(text.as_ptr(), frame[10..].as_ptr());
        assert_eq!(text.len(), 80);
    }

    #[test]
    fn ascii_of_any_length_that_fits_becomes_a_string_in_place() {
        let mut bytes = [b'x'; Str::INLINE];
        for len in 0..=Str::INLINE {
            assert_eq!(Str::from_ascii(&bytes, len), Some(Str::from("x".repeat(len))));
        }
        assert_eq!(Str::from_ascii(&bytes, Str::INLINE + 1), None);
        bytes[7] = 0xc3;
        assert_eq!(Str::from_ascii(&bytes, 7).as_deref(), Some("xxxxxxx"));
        assert_eq!(Str::from_ascii(&bytes, 8), None);
    }

    #[test]
    fn a_string_takes_no_more_than_five_words() {
        assert_eq!(size_of::<Str>(), 40);
        assert_eq!(size_of::<Option<Str>>(), 40);
    }
}
