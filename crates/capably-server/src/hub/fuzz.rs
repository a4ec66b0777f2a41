//! Fuzz targets of the hub's private parsers, for the crate in `fuzz/`. Each must end for any bytes, without a panic, and
//! checks what has to hold of whatever the bytes are read as.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use capably_protocol::{Capability, JsonObject, Message, Millis, Str};
use hmac::Mac;
use serde_json::json;

use super::{
    access::{
        identity::{Identity, Key},
        token::PresentedToken,
    },
    channel::{filter::Filter, view::View},
    channel_name,
    log::{proposal::Proposal, record::MembersRecord},
};

/// The time of every request, in ms since the epoch.
const NOW: Millis = 1_700_000_000_000;

/// The longest that a JWT holds, in ms.
const DAY: Millis = 86_400_000;

/// Tokens and JWTs. The first byte tells what the rest is: a token as a client presents it; or the header and the claims of a
/// JWT, on two lines, which the target signs.
pub fn token(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let capability = Capability::new().allow("chat:*", ["publish", "presence"]).allow("a", ["*"]);
    let keys = [Arc::new(Key::new("key", "a secret that no one can guess", capability))];
    if choice % 2 == 0 {
        let Ok(text) = str::from_utf8(data) else { return };
        let Ok(token) = PresentedToken::parse(text) else { return };
        assert!(token.check(&keys, NOW).is_err(), "{text} was not signed with the key");
        return;
    }
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (header, claims) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let header = if header.is_empty() { br#"{"alg":"HS256","kid":"appIdX.key"}"# } else { header };
    let parts = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let signed = parts.join(".");
    let mac = keys[0].mac(signed.as_bytes()).finalize().into_bytes();
    let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac));
    let Ok(presented) = PresentedToken::parse(&text) else { return };
    let Ok(token) = presented.check(&keys, NOW) else { return };
    assert_eq!(token.capability.intersection(&keys[0].capability), *token.capability);
    let (issued, expires) = (token.facts.issued, token.facts.expires);
    assert!(NOW < expires && expires - issued <= DAY, "valid from {issued} until {expires}");
    if let Ok(identity) = Identity::of_token(token, None) {
        for channel in ["a", "chat:1"] {
            let _ = (identity.user_claim(channel), identity.rate_of_attachment(channel));
        }
    }
    // The same claims with another signature.
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 32]));
    let forged = PresentedToken::parse(&forged).map(|token| token.check(&keys, NOW).is_err());
    assert!(matches!(forged, Err(_) | Ok(true)), "{text} does not need its signature");
}

/// Names of channels, with and without a qualifier.
pub fn channel_name(data: &[u8]) {
    let Ok(name) = str::from_utf8(data) else { return };
    let view = View::parse(name);
    if let Ok(plain) = channel_name::plain(name) {
        assert_eq!(channel_name::plain(plain), Ok(plain), "{name}");
        if let Some(view) = view.as_ref().ok().and_then(Option::as_ref) {
            assert_eq!(view.base, *plain, "{name}");
        }
    }
    assert_eq!(view.is_err(), View::parse(name).is_err(), "{name}");
}

/// Filters: an expression, and from the next line on the headers of a message, as JSON.
pub fn filter(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (expression, headers) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(filter) = Filter::new(expression) else { return };
    let headers: Option<JsonObject> = serde_json::from_str(headers).ok();
    let extras = headers.map(|headers| [("headers".to_owned(), json!(headers))]);
    let message = Message {
        name: Some("name".into()),
        extras: extras.map(JsonObject::from_iter),
        ..Message::default()
    };
    assert_eq!(filter.matches(&message), filter.matches(&message), "{filter:?}");
    let _ = filter.matches(&Message::default());
}

/// What an engine has stored: entries, and the members of a channel. The first byte chooses which of them.
pub fn record(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let (channel, bytes) = (Str::from_static("channel"), Bytes::copy_from_slice(data));
    if choice % 2 == 0 {
        let _ = Proposal::proposer_of(data);
        let Ok(mut proposal) = Proposal::decode(&channel, NOW, &bytes) else { return };
        let stored = proposal.encode_append("appIdX", std::time::Duration::ZERO).payload;
        let mut again = Proposal::decode(&channel, NOW, &stored)
            .unwrap_or_else(|error| panic!("{error}: {proposal:?}"));
        let twice = again.encode_append("appIdX", std::time::Duration::ZERO).payload;
        assert_eq!(twice, stored, "{proposal:?} became {again:?}");
    } else {
        let Ok(members) = MembersRecord::decode(&bytes) else { return };
        let text = format!("{members:?}");
        let again = MembersRecord::decode(&members.encode()).map(|again| format!("{again:?}"));
        assert_eq!(again, Ok(text));
    }
}
