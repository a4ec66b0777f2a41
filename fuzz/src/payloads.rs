//! Payloads with encodings, and deltas.

use bytes::Bytes;
use capably_protocol::{CipherParams, Data, Str, encoding, vcdiff as delta};

/// The most bytes that a delta may make here.
const LIMIT: usize = 1 << 20;

/// A payload with an encoding. The first line is the encoding; the rest is the payload, as text if it is UTF-8. The encoding is
/// undone without and with a cipher, and with a decoder of deltas.
pub fn payload(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(steps) = std::str::from_utf8(&data[..end]) else { return };
    let data = &data[end + 1..];
    let data = match std::str::from_utf8(data) {
        Ok(text) => Data::Text(text.into()),
        Err(_) => Data::Binary(Bytes::copy_from_slice(data)),
    };
    let cipher = CipherParams::from_key(&[7; 32]).expect("a key of 256 bits");
    for cipher in [None, Some(&cipher)] {
        let (mut data, mut rest) = (data.clone(), Some(Str::from(steps)));
        let decoded = encoding::decode_with(&mut data, &mut rest, cipher, &mut |bytes| {
            Ok(Data::Binary(
                delta::decode(bytes, b"the base of a delta", LIMIT).unwrap_or_default().into(),
            ))
        });
        // What could not be undone stays named.
        assert!(decoded.is_ok() || rest.is_some(), "{steps}: an error, and no step is left");
        if decoded.is_ok() {
            assert!(
                rest.is_none_or(|rest| rest.is_empty()),
                "{steps}: no error, and a step is left"
            );
            round_trip(data, cipher);
        }
    }
}

/// What was decoded can be encoded, and decodes to the same.
fn round_trip(data: Data, cipher: Option<&CipherParams>) {
    let (mut encoded, mut steps) = (data.clone(), None);
    if encoding::encode(&mut encoded, &mut steps, cipher.map(|cipher| (cipher, [3; 16]))).is_err() {
        return;
    }
    encoding::decode(&mut encoded, &mut steps, cipher).expect("what we encoded decodes");
    assert_eq!(encoded, data);
}

/// Deltas. The first byte is the length of the base. The rest of the bytes is a delta, and the target of a delta that we make.
pub fn vcdiff(data: &[u8]) {
    let Some((&length, rest)) = data.split_first() else { return };
    let (base, rest) = rest.split_at(usize::from(length).min(rest.len()));
    if let Ok(target) = delta::decode(rest, base, LIMIT) {
        assert!(target.len() <= LIMIT);
    }
    let made = delta::encode(base, rest);
    assert_eq!(delta::decode(&made, base, rest.len()).as_deref(), Ok(rest));
}
