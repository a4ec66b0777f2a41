//! Deltas: valid ones of several encoders, and malformed ones.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use capably_protocol::vcdiff::{VcdiffError, decode, encode};
use proptest::{collection::vec, prelude::*};

/// More than the size of any target in these tests.
const LIMIT: usize = 1 << 16;

const BASE: &[u8] = b"the quick brown fox jumps over the lazy dog";
const FOX: &[u8] =
    b"the quick brown cat jumps over the lazy dog, aaaaaaaaaaaaaaaaaaaaaaaaa the lazy dog";

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A delta with one window of these parts: the source of copies, the size of the target, the data, the instructions and
/// the addresses. The length of each part fits in one byte.
fn delta(from: &[u8], size: &[u8], parts: [&[u8]; 3]) -> Vec<u8> {
    let mut body = size.to_vec();
    body.push(0);
    body.extend(parts.map(|part| part.len() as u8));
    body.extend(parts.concat());
    let mut delta = from_hex("d6c3c40000");
    delta.extend(from);
    delta.push(body.len() as u8);
    delta.extend(body);
    delta
}

/// The window of such a delta.
fn window(from: &[u8], size: u8, parts: [&[u8]; 3]) -> Vec<u8> {
    delta(from, &[size], parts).split_off(5)
}

/// The window copies from the whole source of this length.
fn source(length: u8) -> [u8; 3] {
    [1, length, 0]
}

#[test]
fn deltas_of_another_encoder_are_decoded() {
    let with_checksum =
        from_hex("d6c3c40000052b001a5300060803fbe51e456361742c2061200413180300191d001349");
    assert_eq!(decode(&with_checksum, BASE, LIMIT).unwrap(), FOX);
    let of_several_windows = from_hex(concat!(
        "d6c3c40000012b000e2800030402636174200413150013012b00102800060401646f672c20610600191a1e012b0009",
        "0300030100646f6704",
    ));
    assert_eq!(decode(&of_several_windows, BASE, LIMIT).unwrap(), FOX);
}

#[test]
fn the_example_of_the_rfc() {
    // S = abcdefghijklmnop, T = abcdwxyzefghefghefghefghzzzz (RFC 3284, §3).
    let instructions = [20, 5, 20, 28, 0, 4];
    let parts: [&[u8]; 3] = [b"wxyzz", &instructions, &[0, 4, 24]];
    let delta = delta(&source(16), &[28], parts);
    let target = decode(&delta, b"abcdefghijklmnop", LIMIT).unwrap();
    assert_eq!(target, b"abcdwxyzefghefghefghefghzzzz");
}

#[test]
fn a_copy_may_run_from_the_base_into_the_target() {
    let parts: [&[u8]; 3] = [b"xy", &[3, 19, 7], &[2]];
    let delta = delta(&source(4), &[9], parts);
    assert_eq!(decode(&delta, b"abcd", LIMIT).unwrap(), b"xycdxycdx");
}

#[test]
fn a_window_may_copy_from_the_windows_before_it() {
    let mut delta = delta(&[0], &[6], [b"abcdef", &[7], &[]]);
    delta.extend(window(&[2, 4, 1], 5, [b"!", &[20, 2], &[0]]));
    assert_eq!(decode(&delta, b"", LIMIT).unwrap(), b"abcdefbcde!");
}

#[test]
fn an_application_header_is_skipped() {
    let mut delta = encode(BASE, FOX);
    delta[4] = 4;
    delta.splice(5..5, *b"\x03app");
    assert_eq!(decode(&delta, BASE, LIMIT).unwrap(), FOX);
    assert_eq!(decode(&delta[..7], BASE, LIMIT), Err(VcdiffError::Truncated));
}

#[test]
fn a_delta_without_windows_is_empty() {
    assert_eq!(decode(&from_hex("d6c3c40000"), BASE, LIMIT).unwrap(), b"");
}

#[test]
fn a_checksum_detects_a_wrong_base() {
    let delta = from_hex("d6c3c40000052b001a5300060803fbe51e456361742c2061200413180300191d001349");
    let another = BASE.to_ascii_uppercase();
    assert_eq!(decode(&delta, &another, LIMIT), Err(VcdiffError::Checksum));
}

#[test]
fn a_small_change_has_a_small_delta() {
    let base = br#"{"symbol":"ABC","bid":101.25,"ask":101.27,"venue":"XLON","time":1767225600}"#;
    let same_size =
        br#"{"symbol":"ABC","bid":101.26,"ask":101.29,"venue":"XLON","time":1767225601}"#;
    let longer = br#"{"symbol":"ABC","bid":101.255,"ask":99.3,"venue":"XLON","time":1767225601}"#;
    let moved = [&base[40..], &base[..40]].concat();
    let targets = [&same_size[..], longer, base, &moved];
    assert_eq!(targets.map(|target| encode(base, target).len()), [29, 30, 17, 20]);
}

#[test]
fn unrelated_data_has_a_delta_larger_than_itself() {
    let target: Vec<u8> = (0..100).map(|byte| byte | 0x80).collect();
    let pairs = [(BASE, &target[..]), (b"", b"abc"), (BASE, b"")];
    assert_eq!(pairs.map(|(base, target)| encode(base, target).len()), [116, 18, 14]);
}

#[test]
fn bytes_that_are_no_delta_are_refused() {
    for other in [&b""[..], b"\xd6", b"\xd6\xc3\xc4", b"\xd6\xc3\xc4S\0", b"{\"a\":1}"] {
        assert_eq!(decode(other, BASE, LIMIT), Err(VcdiffError::NotVcdiff));
    }
    assert_eq!(decode(b"\xd6\xc3\xc4\0", BASE, LIMIT), Err(VcdiffError::Truncated));
}

#[test]
fn unsupported_features_are_refused() {
    let tampered = |at: usize, value: u8| {
        let mut delta = encode(BASE, FOX);
        delta[at] = value;
        match decode(&delta, BASE, LIMIT) {
            Err(VcdiffError::Unsupported(what)) => what,
            other => panic!("{other:?}"),
        }
    };
    let of_its_own = "secondary compression or a code table of its own";
    assert_eq!([1, 2, 3, 5, 0x80].map(|header| tampered(4, header)), [of_its_own; 5]);
    assert_eq!(tampered(5, 9), "an unknown kind of window");
    assert_eq!(tampered(10, 1), "secondary compression");
}

#[test]
fn a_truncated_delta_is_refused() {
    let whole = from_hex("d6c3c40000052b001a5300060803fbe51e456361742c2061200413180300191d001349");
    for end in 0..whole.len() {
        let result = decode(&whole[..end], BASE, LIMIT);
        match end {
            0..=3 => assert_eq!(result, Err(VcdiffError::NotVcdiff)),
            // A header alone is a delta without windows.
            5 => assert_eq!(result.unwrap(), b""),
            _ => assert_eq!(result, Err(VcdiffError::Truncated), "{end}"),
        }
    }
}

#[test]
fn an_oversized_target_is_refused_before_it_is_built() {
    let huge = [0x8f, 0xff, 0xff, 0xff, 0x7f];
    let parts: [&[u8]; 3] = [b"a", &[0, 0x8f, 0xff, 0xff, 0xff, 0x7f], &[]];
    assert_eq!(decode(&delta(&[0], &huge, parts), b"", LIMIT), Err(VcdiffError::TooLarge));
    let ten: [&[u8]; 3] = [b"a", &[0, 10], &[]];
    let mut several = delta(&[0], &[10], ten);
    assert_eq!(decode(&several, b"", 9), Err(VcdiffError::TooLarge));
    assert_eq!(decode(&several, b"", 10).unwrap(), [b'a'; 10]);
    several.extend(window(&[0], 10, ten));
    assert_eq!(decode(&several, b"", 19), Err(VcdiffError::TooLarge));
    assert_eq!(decode(&several, b"", 20).unwrap(), [b'a'; 20]);
}

#[test]
fn numbers_end() {
    for digits in [&[0x90, 0x80, 0x80, 0x80, 0][..], &[0xff; 20]] {
        let delta = delta(&[0], digits, [&[], &[], &[]]);
        assert_eq!(
            decode(&delta, b"", LIMIT),
            Err(VcdiffError::Malformed("a number is too large"))
        );
    }
    let delta = delta(&[0], &[0x80; 20], [&[], &[], &[]]);
    assert_eq!(decode(&delta, b"", LIMIT), Err(VcdiffError::Truncated));
}

#[test]
fn contradictory_deltas_are_refused() {
    let why = |delta: &[u8]| match decode(delta, BASE, LIMIT) {
        Err(VcdiffError::Malformed(why)) => why,
        other => panic!("{other:?}"),
    };
    let nothing: [&[u8]; 3] = [&[], &[], &[]];
    assert_eq!(why(&delta(&[3, 0, 0], &[0], nothing)), "a window copies from two places");
    for outside in [[1, 44, 0], [1, 1, 43], [1, 43, 1], [2, 1, 0]] {
        assert_eq!(why(&delta(&outside, &[0], nothing)), "a segment is not in the base");
    }
    let too_long = "a window is longer than it says";
    assert_eq!(why(&delta(&[0], &[1], [b"ab", &[3], &[]])), too_long);
    assert_eq!(why(&delta(&[0], &[1], [b"a", &[0, 2], &[]])), too_long);
    assert_eq!(why(&delta(&source(43), &[5], [&[], &[20, 20], &[0, 0]])), too_long);
    let too_short = "a window is shorter than it says";
    assert_eq!(why(&delta(&[0], &[3], [b"ab", &[3], &[]])), too_short);
    assert_eq!(why(&delta(&[0], &[1], [b"ab", &[2], &[]])), too_short);
    assert_eq!(why(&delta(&source(43), &[4], [&[], &[20], &[0, 0]])), too_short);
    let ahead = "a copy from what is not there";
    assert_eq!(why(&delta(&source(43), &[4], [&[], &[20], &[43]])), ahead);
    assert_eq!(why(&delta(&source(43), &[4], [&[], &[36], &[44]])), ahead);
    assert_eq!(why(&delta(&[0], &[4], [&[], &[20], &[0]])), ahead);
    let mut padded = delta(&[0], &[1], [b"a", &[2], &[]]);
    padded[6] += 1;
    padded.push(0);
    assert_eq!(why(&padded), "a window is longer than its parts");
}

/// A change: the bytes that replace this many bytes at this position.
type Edit = (prop::sample::Index, usize, Vec<u8>);

fn edited(base: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut target = base.to_vec();
    for (at, removed, inserted) in edits {
        let at = at.index(target.len() + 1);
        let end = (at + removed).min(target.len());
        target.splice(at..end, inserted.iter().copied());
    }
    target
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    vec((any::<prop::sample::Index>(), 0..40_usize, vec(any::<u8>(), 0..30)), 0..6)
}

/// Bytes with few distinct values, so that two of them share long runs.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(0..4_u8, 0..600)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn encoding_and_decoding_gives_the_same_bytes(base in bytes(), edits in edits()) {
        let target = edited(&base, &edits);
        prop_assert_eq!(decode(&encode(&base, &target), &base, target.len()), Ok(target));
    }

    #[test]
    fn unrelated_data_survives_encoding_and_decoding(base in bytes(), target in vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(decode(&encode(&base, &target), &base, target.len()), Ok(target));
    }

    /// For any input, the result is an error or within the limit.
    #[test]
    fn broken_deltas_never_panic(base in bytes(), first in edits(), damage in edits()) {
        let delta = edited(&encode(&base, &edited(&base, &first)), &damage);
        if let Ok(target) = decode(&delta, &base, 1000) {
            prop_assert!(target.len() <= 1000);
        }
    }

    #[test]
    fn one_changed_byte_never_panics(
        base in bytes(), edits in edits(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut delta = encode(&base, &edited(&base, &edits));
        let at = at.index(delta.len());
        delta[at] = byte;
        if let Ok(target) = decode(&delta, &base, 1000) {
            prop_assert!(target.len() <= 1000);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(base in bytes(), rest in vec(any::<u8>(), 0..60)) {
        let delta = [&[0xd6, 0xc3, 0xc4, 0][..], &rest].concat();
        if let Ok(target) = decode(&delta, &base, 1000) {
            prop_assert!(target.len() <= 1000);
        }
    }
}
