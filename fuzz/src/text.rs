//! Short texts that have a grammar of their own, and bodies of cold types.

use std::{fmt::Debug, str::FromStr};

use capably_objects::{ObjectId, Path};
use capably_protocol::{
    ApiKey, Capability, ChannelDetails, CipherParams, ConnectionDetails, ErrorInfo, Format, Limits,
    RecoveryKey, Stats, TokenDetails, TokenRequest, codec,
};

/// Text. Every parser reads all of it.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = ApiKey::from_str(text).map(|key| {
        let other = ApiKey::from_str(&format!("{}:another secret", key.name()));
        assert_eq!(format!("{key:?}"), format!("{:?}", other.unwrap()), "a secret is printed");
    });
    if let Ok(capability) = Capability::from_str(text) {
        let again = Capability::from_str(&capability.to_string());
        assert_eq!(again.as_ref(), Ok(&capability));
        let both = capability.intersection(&capability);
        let operation = "publish".into();
        for channel in capability.resources().map(|(resource, _)| resource).chain([text]) {
            let allowed = capability.allows(channel, &operation);
            assert_eq!(both.allows(channel, &operation), allowed, "{channel} in {capability}");
        }
    }
    if let Ok(key) = RecoveryKey::decode(text) {
        let again = RecoveryKey::decode(&key.encode());
        assert_eq!(again.as_ref().ok(), Some(&key));
    }
    let _ = CipherParams::from_base64(text);
    let path = Path::parse(text);
    assert_eq!(Path::parse(&path.to_string()), path);
    if let Ok(id) = ObjectId::from_str(text) {
        assert_eq!(ObjectId::from_str(&id.to_string()).as_ref(), Ok(&id));
    }
    body::<TokenRequest>(data);
    body::<TokenDetails>(data);
    body::<ErrorInfo>(data);
    body::<Stats>(data);
    body::<ChannelDetails>(data);
    body::<ConnectionDetails>(data);
}

fn body<T: serde::Serialize + serde::de::DeserializeOwned + Debug>(data: &[u8]) {
    let Ok(value) = codec::decode_body::<T>(Format::Json, data, &Limits::default()) else { return };
    for format in [Format::Json, Format::MsgPack] {
        let bytes = codec::encode_body(format, &value).unwrap_or_else(|e| panic!("{e}: {value:?}"));
        codec::decode_body::<T>(format, &bytes, &Limits::default())
            .unwrap_or_else(|error| panic!("{format:?}: {error}: {value:?}"));
    }
}
