//! The payload pipeline: what is done to data before it is sent, and undone when it arrives (RSL4, RSL6).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::{CipherParams, Data, ErrorCode, ErrorInfo, Str, cipher::IV_SIZE};

/// A payload that cannot be encoded, or an encoding that cannot be undone.
const INVALID_DATA_OR_ENCODING: ErrorCode = ErrorCode(40013);
/// A step that needs a plugin which is not there.
const MISSING_PLUGIN: ErrorCode = ErrorCode(40019);

/// Encodes a payload for sending (RSL4, RSL5): JSON becomes text, and with a cipher text becomes bytes
/// and bytes are encrypted. Each step is added to `encoding`. What a format needs on top (base64 in
/// JSON) is the codec's part.
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

/// Decodes a payload that arrived (RSL6): undoes the steps of `encoding` from the last to the first,
/// leaving in `encoding` those that were not undone.
///
/// # Errors
/// Why the next step could not be undone (RSL6b). Code 40013: base64, UTF-8 or JSON is broken, the cipher
/// is missing or does not fit, or this version does not know the step. Code 40019: the step is `vcdiff`,
/// and no decoder for it is there. The payload is then what the last good step gave.
pub fn decode(
    data: &mut Data,
    encoding: &mut Option<Str>,
    cipher: Option<&CipherParams>,
) -> Result<(), ErrorInfo> {
    let Some(steps) = encoding.take() else { return Ok(()) };
    let mut rest: &str = &steps;
    let result = loop {
        if rest.is_empty() {
            return Ok(());
        }
        let (before, step) = rest.rsplit_once('/').unwrap_or(("", rest));
        match undo(step, data, cipher) {
            Ok(decoded) => *data = decoded,
            Err(error) => break Err(error),
        }
        rest = before;
    };
    *encoding = Some(steps.slice_ref(rest));
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
    let rest = rest.map(|rest| steps.slice_ref(rest));
    *data = undo("base64", data, None)?;
    *encoding = rest;
    Ok(())
}

/// The payload without its last step.
fn undo(step: &str, data: &Data, cipher: Option<&CipherParams>) -> Result<Data, ErrorInfo> {
    match step {
        "json" => match data {
            Data::Text(_) | Data::Binary(_) => serde_json::from_slice(raw(data))
                .map(Data::Json)
                .map_err(|_| invalid("the data is not the JSON its encoding says")),
            Data::Json(_) | Data::None => Ok(data.clone()),
        },
        "utf-8" => match data {
            Data::Binary(bytes) => Str::try_from(bytes.clone())
                .map(Data::Text)
                .map_err(|_| invalid("the data is not the UTF-8 its encoding says")),
            Data::Text(_) | Data::None => Ok(data.clone()),
            Data::Json(_) => Err(invalid("a JSON value cannot have the encoding utf-8")),
        },
        "base64" => match data {
            Data::Text(_) | Data::Binary(_) => from_base64(raw(data))
                .map(|bytes| Data::Binary(bytes.into()))
                .ok_or_else(|| invalid("the data is not the base64 its encoding says")),
            Data::None => Ok(Data::None),
            Data::Json(_) => Err(invalid("a JSON value cannot have the encoding base64")),
        },
        "vcdiff" => Err(ErrorInfo::new(
            MISSING_PLUGIN,
            400,
            "the data is a vcdiff delta, and there is no decoder for it",
        )),
        _ if step.starts_with("cipher+") => decrypt(step, data, cipher),
        _ => Err(invalid(format!("unknown encoding `{step}`"))),
    }
}

fn decrypt(step: &str, data: &Data, cipher: Option<&CipherParams>) -> Result<Data, ErrorInfo> {
    let Some(cipher) = cipher else {
        return Err(invalid("the data is encrypted, and the channel has no cipher"));
    };
    if step != cipher.step() {
        let expected = cipher.step();
        return Err(invalid(format!(
            "the data has the encoding `{step}`, the channel `{expected}`"
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

fn raw(data: &Data) -> &[u8] {
    match data {
        Data::Text(text) => text.as_bytes(),
        Data::Binary(bytes) => bytes,
        Data::Json(_) | Data::None => &[],
    }
}

fn add_step(encoding: &mut Option<Str>, step: &'static str) {
    *encoding = Some(match encoding.as_deref() {
        None | Some("") => Str::from_static(step),
        Some(before) => format!("{before}/{step}").into(),
    });
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
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    LENIENT.decode(text).ok()
}
