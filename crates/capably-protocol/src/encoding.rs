//! The payload pipeline: the steps that encode data before sending, and decode it after receiving (RSL4, RSL6).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::{CipherParams, Data, ErrorCode, ErrorInfo, Str, cipher::IV_SIZE};

/// A payload that cannot be encoded, or an encoding that cannot be undone.
const INVALID_DATA_OR_ENCODING: ErrorCode = ErrorCode(40013);

/// Encodes a payload for sending (RSL4, RSL5): JSON becomes text, and with a cipher text becomes bytes
/// and bytes are encrypted. Each step is added to `encoding`. The codec adds the step that a format needs (base64
/// in JSON).
///
/// The second part of `cipher` is the initialization vector: 16 random bytes, new ones for each payload.
///
/// # Errors
/// Code 40013 for JSON that is neither an object nor an array (RSL4a); the payload is then unchanged.
pub fn encode(
    data: &mut Data,
    encoding: &mut Option<Str>,
    cipher: Option<(&CipherParams, [u8; IV_SIZE])>,
) -> Result<(), ErrorInfo> {
    if let Data::Json(value) = data {
        if !(value.is_object() || value.is_array()) {
            return Err(invalid("JSON data must be an object or an array"));
        }
        *data = Data::Text(value.to_string().into());
        add_step(encoding, "json");
    }
    let Some((cipher, iv)) = cipher else { return Ok(()) };
    if let Data::Text(text) = data {
        *data = Data::Binary(std::mem::take(text).into_bytes());
        add_step(encoding, "utf-8");
    }
    if let Data::Binary(bytes) = data {
        *data = Data::Binary(cipher.encrypt(bytes, iv));
        add_step(encoding, cipher.step());
    }
    Ok(())
}

/// Decodes a received payload (RSL6): undoes the steps of `encoding` from the last to the first. Steps that cannot be
/// undone stay in `encoding`.
///
/// # Errors
/// The reason why the next step cannot be undone (RSL6b). Code 40013: base64, UTF-8 or JSON is broken, the cipher
/// is missing or does not fit, or this version does not know the step. Code 40019: the step is `vcdiff`, and there is no
/// decoder for it. The payload is then the result of the last step that was undone.
pub fn decode(
    data: &mut Data,
    encoding: &mut Option<Str>,
    cipher: Option<&CipherParams>,
) -> Result<(), ErrorInfo> {
    decode_with(data, encoding, cipher, &mut |_| Err(missing_plugin()))
}

/// As [`decode`], with a decoder of deltas: `apply` makes the payload of a delta (RTL19c).
///
/// # Errors
/// As [`decode`], and those of `apply`.
pub fn decode_with(
    data: &mut Data,
    encoding: &mut Option<Str>,
    cipher: Option<&CipherParams>,
    apply: &mut dyn FnMut(&[u8]) -> Result<Data, ErrorInfo>,
) -> Result<(), ErrorInfo> {
    // Taken out, so that `rest` can borrow it while the payload changes. A failed step puts the rest back.
    let Some(steps) = encoding.take() else { return Ok(()) };
    let mut rest: &str = &steps;
    let result = loop {
        if rest.is_empty() {
            return Ok(());
        }
        let (before, step) = rest.rsplit_once('/').unwrap_or(("", rest));
        match undo(step, data, cipher, apply) {
            Ok(decoded) => *data = decoded,
            Err(error) => break Err(error),
        }
        rest = before;
    };
    *encoding = Some(Str::from(rest));
    result
}

/// Strips an outermost `base64` step, giving bytes: the form in which a service stores a payload, free
/// of the format it came in.
///
/// # Errors
/// Code 40013 when the base64 is broken; the payload is then unchanged.
pub fn strip_base64(data: &mut Data, encoding: &mut Option<Str>) -> Result<(), ErrorInfo> {
    let Some(steps) = encoding else { return Ok(()) };
    let rest = match steps.rsplit_once('/') {
        Some((rest, "base64")) => Some(rest).filter(|rest| !rest.is_empty()),
        None if *steps == "base64" => None,
        _ => return Ok(()),
    };
    let rest = rest.map(Str::from);
    *data = undo_base64(data)?;
    *encoding = rest;
    Ok(())
}

/// The payload without its last step.
fn undo(
    step: &str,
    data: &Data,
    cipher: Option<&CipherParams>,
    apply: &mut dyn FnMut(&[u8]) -> Result<Data, ErrorInfo>,
) -> Result<Data, ErrorInfo> {
    match step {
        "json" => match data {
            Data::Text(_) | Data::Binary(_) => serde_json::from_slice(raw(data))
                .map(Data::Json)
                .map_err(|_| invalid("the data is not valid JSON, although its encoding is json")),
            // Some services send JSON itself and still name the step.
            Data::Json(_) | Data::None => Ok(data.clone()),
        },
        "utf-8" => match data {
            Data::Binary(bytes) => Str::try_from(bytes.clone()).map(Data::Text).map_err(|_| {
                invalid("the data is not valid UTF-8, although its encoding is utf-8")
            }),
            Data::Text(_) | Data::None => Ok(data.clone()),
            Data::Json(_) => Err(invalid("a JSON value cannot have the encoding utf-8")),
        },
        "base64" => undo_base64(data),
        "vcdiff" => apply(raw(data)),
        _ if step.starts_with("cipher+") => decrypt(step, data, cipher),
        _ => Err(invalid(format!("unknown encoding `{step}`"))),
    }
}

fn undo_base64(data: &Data) -> Result<Data, ErrorInfo> {
    match data {
        Data::Text(_) | Data::Binary(_) => {
            from_base64(raw(data)).map(|bytes| Data::Binary(bytes.into())).ok_or_else(|| {
                invalid("the data is not valid base64, although its encoding is base64")
            })
        }
        Data::None => Ok(Data::None),
        Data::Json(_) => Err(invalid("a JSON value cannot have the encoding base64")),
    }
}

fn decrypt(step: &str, data: &Data, cipher: Option<&CipherParams>) -> Result<Data, ErrorInfo> {
    let Some(cipher) = cipher else {
        return Err(invalid("the data is encrypted, and the channel has no cipher"));
    };
    // A wrong key length is reported before decryption: CBC without authentication could "succeed" on garbage.
    if step != cipher.step() {
        let expected = cipher.step();
        return Err(invalid(format!(
            "the data has the encoding `{step}`, but the cipher of the channel is `{expected}`"
        )));
    }
    match data {
        Data::None => Ok(Data::None),
        Data::Binary(bytes) => match cipher.decrypt(bytes) {
            Some(plain) => Ok(Data::Binary(plain)),
            None => Err(invalid("the data could not be decrypted with the channel's key")),
        },
        Data::Text(_) | Data::Json(_) => Err(invalid("encrypted data must be bytes")),
    }
}

/// The bytes of a payload to send; none for an absent payload or JSON.
fn raw(data: &Data) -> &[u8] {
    match data {
        Data::Text(text) => text.as_bytes(),
        Data::Binary(bytes) => bytes,
        Data::Json(_) | Data::None => &[],
    }
}

fn add_step(encoding: &mut Option<Str>, step: &'static str) {
    *encoding = Some(match encoding.as_deref() {
        // An empty encoding is no step: with a slash before it, other clients would read one.
        None | Some("") => Str::from_static(step),
        Some(before) => format!("{before}/{step}").into(),
    });
}

fn missing_plugin() -> ErrorInfo {
    let message = "the data is a vcdiff delta, and there is no decoder for it";
    ErrorInfo::new(ErrorCode::MISSING_PLUGIN, 400, message)
}

pub(crate) fn invalid(message: impl Into<Str>) -> ErrorInfo {
    ErrorInfo::new(INVALID_DATA_OR_ENCODING, 400, message)
}

/// Bytes as base64 text.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// The bytes of base64 text, padded or not.
pub(crate) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    use base64::{
        alphabet,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            // Other SDKs omit the padding or leave bits behind the last byte.
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    LENIENT.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    const IV: [u8; IV_SIZE] = [9; IV_SIZE];

    fn cipher() -> CipherParams {
        CipherParams::from_key(&[1; 16]).unwrap()
    }

    fn encoded(
        data: impl Into<Data>,
        encoding: Option<&str>,
        cipher: Option<&CipherParams>,
    ) -> (Data, Option<String>) {
        let (mut data, mut encoding) = (data.into(), encoding.map(Str::from));
        encode(&mut data, &mut encoding, cipher.map(|cipher| (cipher, IV))).unwrap();
        (data, encoding.map(String::from))
    }

    /// What decoding leaves: the payload, the encoding, and the code of the error.
    fn decoded(
        data: impl Into<Data>,
        encoding: &str,
        cipher: Option<&CipherParams>,
    ) -> (Data, Option<String>, Option<u32>) {
        let (mut data, mut encoding) = (data.into(), Some(Str::from(encoding)));
        let code = decode(&mut data, &mut encoding, cipher).err().map(|error| error.code.0);
        (data, encoding.map(String::from), code)
    }

    #[test]
    fn text_and_bytes_are_sent_as_they_are() {
        assert_eq!(encoded("text", None, None), ("text".into(), None));
        assert_eq!(encoded("", None, None), ("".into(), None));
        assert_eq!(encoded(vec![1, 2], None, None), (vec![1, 2].into(), None));
        assert_eq!(encoded((), None, None), (Data::None, None));
        assert_eq!(encoded((), None, Some(&cipher())), (Data::None, None));
    }

    #[test]
    fn json_becomes_text() {
        let json_step = Some("json".to_owned());
        assert_eq!(
            encoded(json!({ "a": 1 }), None, None),
            (r#"{"a":1}"#.into(), json_step.clone())
        );
        assert_eq!(encoded(json!([]), Some(""), None), ("[]".into(), json_step));
        let appended = Some("custom/json".to_owned());
        assert_eq!(encoded(json!({}), Some("custom"), None), ("{}".into(), appended));
    }

    #[test]
    fn json_that_is_no_object_or_array_is_refused() {
        for value in [json!(1), json!(true), json!("text"), json!(null)] {
            let (mut data, mut encoding) = (Data::Json(value.clone()), None);
            let error = encode(&mut data, &mut encoding, None).unwrap_err();
            assert_eq!((error.code.0, error.status_code), (40013, 400));
            assert_eq!((data, encoding), (Data::Json(value), None));
        }
    }

    #[test]
    fn encryption_adds_a_step_for_each_thing_it_does() {
        let cipher = cipher();
        let steps = |data: Data| encoded(data, None, Some(&cipher)).1.unwrap();
        assert_eq!(steps("text".into()), "utf-8/cipher+aes-128-cbc");
        assert_eq!(steps(vec![1].into()), "cipher+aes-128-cbc");
        assert_eq!(steps(json!([1]).into()), "json/utf-8/cipher+aes-128-cbc");
        let longer = CipherParams::from_key(&[1; 32]).unwrap();
        let (data, encoding) = encoded("", None, Some(&longer));
        assert_eq!(encoding.as_deref(), Some("utf-8/cipher+aes-256-cbc"));
        let bytes = data.as_bytes().unwrap();
        assert_eq!((bytes.len(), &bytes[..16]), (32, &IV[..]));
    }

    #[test]
    fn steps_are_undone_from_the_last() {
        assert_eq!(decoded("e30=", "json/base64", None), (json!({}).into(), None, None));
        assert_eq!(decoded("e30", "json/utf-8/base64", None), (json!({}).into(), None, None));
        assert_eq!(decoded("aGk=", "utf-8/base64", None), ("hi".into(), None, None));
        assert_eq!(decoded("aGl", "utf-8/base64", None), ("hi".into(), None, None), "odd bits");
        assert_eq!(decoded("hi", "", None), ("hi".into(), None, None));
        // The data has the form already that the step would give it.
        assert_eq!(decoded("hi", "utf-8", None), ("hi".into(), None, None));
        assert_eq!(decoded(json!([1]), "json", None), (json!([1]).into(), None, None));
        for nothing in ["base64", "json/utf-8"] {
            assert_eq!(decoded((), nothing, None), (Data::None, None, None));
        }
    }

    #[test]
    fn what_is_left_of_an_encoding_stays_with_the_last_good_step() {
        let custom = Some("custom".to_owned());
        let bytes = Data::Binary(Bytes::from_static(b"hi"));
        assert_eq!(decoded("aGk=", "custom/base64", None), (bytes.clone(), custom, Some(40013)));
        let rest = Some("utf-8/custom".to_owned());
        assert_eq!(decoded("aGk=", "utf-8/custom/base64", None), (bytes, rest, Some(40013)));
        for (data, encoding) in [("*", "base64"), ("{", "json"), ("x", "foo"), ("x", "vcdiff/")] {
            let code = Some(40013);
            assert_eq!(
                decoded(data, encoding, None),
                (data.into(), Some(encoding.to_owned()), code)
            );
        }
        let (data, rest, code) = decoded("/w==", "utf-8/base64", None);
        assert_eq!((data, rest.as_deref(), code), (vec![0xff].into(), Some("utf-8"), Some(40013)));
    }

    #[test]
    fn a_delta_needs_a_decoder() {
        let (data, rest, code) = decoded("AAE=", "utf-8/vcdiff/base64", None);
        assert_eq!(data, vec![0, 1].into());
        assert_eq!((rest.as_deref(), code), (Some("utf-8/vcdiff"), Some(40019)));
    }

    #[test]
    fn a_delta_is_applied_where_it_stands_in_the_encoding() {
        let cipher = cipher();
        let base = b"{}";
        let json = json!({ "a": [1, 2, 3] });
        let encrypted = cipher.encrypt(json.to_string().as_bytes(), IV);
        for (wanted, steps) in [
            (Bytes::from(json.to_string()), "json/utf-8/vcdiff/base64"),
            (encrypted, "json/utf-8/cipher+aes-128-cbc/vcdiff/base64"),
        ] {
            let delta = crate::vcdiff::encode(base, &wanted);
            let mut data = Data::from(to_base64(&delta));
            let mut encoding = Some(Str::from(steps));
            let apply = &mut |own: &[u8]| {
                assert_eq!(own, delta);
                Ok(crate::vcdiff::decode(own, base, 100).unwrap().into())
            };
            decode_with(&mut data, &mut encoding, Some(&cipher), apply).unwrap();
            assert_eq!((data, encoding), (Data::Json(json.clone()), None));
        }
    }

    #[test]
    fn an_encrypted_payload_stays_bytes_without_the_right_key() {
        let (data, steps) = encoded("secret", None, Some(&cipher()));
        let steps = steps.unwrap();
        let untouched = (data.clone(), Some(steps.clone()), Some(40013));
        assert_eq!(decoded(data.clone(), &steps, None), untouched);
        let longer = CipherParams::from_key(&[1; 32]).unwrap();
        assert_eq!(decoded(data.clone(), &steps, Some(&longer)), untouched);
        // The step has to be the cipher's even where the key would do.
        for step in ["utf-8/cipher+aes-256-cbc", "utf-8/cipher+aes-128-ecb"] {
            let untouched = (data.clone(), Some(step.to_owned()), Some(40013));
            assert_eq!(decoded(data.clone(), step, Some(&cipher())), untouched);
        }
        for short in [0, 15, 16, 31] {
            let cut = data.as_bytes().unwrap().slice(..short);
            let (left, rest, code) = decoded(cut.clone(), &steps, Some(&cipher()));
            assert_eq!((left, rest.as_ref(), code), (cut.into(), Some(&steps), Some(40013)));
        }
        let (_, rest, code) = decoded("text", "cipher+aes-128-cbc", Some(&cipher()));
        assert_eq!((rest.as_deref(), code), (Some("cipher+aes-128-cbc"), Some(40013)));
        assert_eq!(decoded(data, &steps, Some(&cipher())), ("secret".into(), None, None));
    }

    #[test]
    fn without_a_payload_there_is_nothing_to_undo() {
        for steps in [
            "utf-8",
            "json",
            "base64",
            "cipher+aes-128-cbc",
            "json/utf-8/cipher+aes-128-cbc/base64",
        ] {
            assert_eq!(decoded((), steps, Some(&cipher())), (Data::None, None, None), "{steps}");
        }
    }

    #[test]
    fn a_service_strips_the_outermost_base64_only() {
        let strip = |data: &str, encoding: Option<&str>| {
            let (mut data, mut encoding) = (Data::from(data), encoding.map(Str::from));
            let code = strip_base64(&mut data, &mut encoding).err().map(|error| error.code.0);
            (data, encoding.map(String::from), code)
        };
        for only in ["base64", "/base64"] {
            assert_eq!(strip("AQ==", Some(only)), (vec![1].into(), None, None));
        }
        let rest = Some("utf-8/cipher+aes-128-cbc".to_owned());
        let steps = Some("utf-8/cipher+aes-128-cbc/base64");
        assert_eq!(strip("AQ==", steps), (vec![1].into(), rest, None));
        assert_eq!(strip("AQ==", None), ("AQ==".into(), None, None));
        for untouched in ["base64/json", "notbase64", ""] {
            let left = Some(untouched.to_owned());
            assert_eq!(strip("AQ==", Some(untouched)), ("AQ==".into(), left, None));
        }
        let left = Some("json/base64".to_owned());
        assert_eq!(strip("*", Some("json/base64")), ("*".into(), left, Some(40013)));
    }
}
