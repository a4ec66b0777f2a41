//! Tokens and their capabilities, in virtual time.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use capably_protocol::{ErrorInfo, JsonObject, TokenDetails, TokenRequest, frame::AuthDetails};
use hmac::Mac;
use serde_json::{Value, json};

use super::*;
use crate::hub::{
    IssuedToken,
    access::{
        identity::{Client, Credentials, PresentedKey},
        revocation::RevocationRequest,
        token::PresentedToken,
        token_request,
    },
};

pub(super) const KEY_NAME: &str = "app-id.key";

fn codes<T>(result: Result<T, ErrorInfo>) -> Result<T, (u16, u32)> {
    result.map_err(|error| (error.status_code, error.code.0))
}

impl Bench {
    pub(super) fn with_capability(capability: Value) -> Self {
        let mut bench = Self::new();
        let (capability, text) = capability::read(&capability).unwrap();
        let mut key = Key::new("key", "secret", capability);
        key.capability_text = text;
        bench.key = Arc::new(key);
        bench.app.access.keys = vec![Arc::clone(&bench.key)];
        bench
    }

    pub(super) fn mac(&self, text: &str) -> Vec<u8> {
        self.key.mac(text.as_bytes()).finalize().into_bytes().to_vec()
    }

    /// The request, with the MAC of its canonical text.
    pub(super) fn signed(&self, mut body: Value) -> Value {
        let part = |name: &str| match &body[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other if *other == 0 => String::new(),
            other => other.to_string(),
        };
        let text = format!(
            "{KEY_NAME}\n{}\n{}\n{}\n{}\n{}\n",
            part("ttl"),
            part("capability"),
            part("clientId"),
            part("timestamp"),
            part("nonce")
        );
        body["mac"] = json!(STANDARD.encode(self.mac(&text)));
        body
    }

    pub(super) fn request(&mut self, body: &Value) -> Result<TokenDetails, (u16, u32)> {
        let key = PresentedKey::parse("app-id.key:secret").unwrap();
        let request = codes(token_request::read(body.as_object().unwrap().clone(), KEY_NAME))?;
        codes(self.request_token("key", &request, Some(&key))).map(|issued| issued.details)
    }

    /// As the front does it for an app without an engine.
    fn request_token(
        &mut self,
        key_id: &str,
        request: &TokenRequest,
        presented: Option<&PresentedKey>,
    ) -> Result<IssuedToken, ErrorInfo> {
        let nonce = self.app.check_token_request(key_id, request, presented, self.now)?;
        if let Some(nonce) = nonce {
            self.app.use_nonce(&nonce, self.now)?;
        }
        self.app.issue_token(key_id, request, self.now)
    }

    pub(super) fn authenticate(
        &self,
        token: &str,
        client_id: Option<&str>,
    ) -> Result<Identity, (u16, u32)> {
        codes(PresentedToken::parse(token).and_then(|token| {
            let credentials = Credentials::Token(token);
            self.app.authenticate(&credentials, client_id.map(Str::from), self.now)
        }))
    }

    pub(super) fn jwt(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&signed));
        format!("{signed}.{signature}")
    }

    pub(super) fn auth(&mut self, transport: TransportId, token: &str) -> Vec<ServerFrame> {
        let auth = AuthDetails { access_token: token.into() };
        self.send(transport, vec![ClientFrame::Auth(auth)]);
        self.frames(transport)
    }
}

#[test]
fn a_token_has_the_requested_details_and_belongs_to_its_key() {
    let capability = r#"{ "b":["subscribe","publish"], "a":["*"] }"#;
    let mut bench = Bench::with_capability(json!(capability));
    let now = bench.now.wall;

    let plain = bench.request(&json!({})).unwrap();
    assert_eq!((plain.issued, plain.expires), (Some(now), Some(now + 3_600_000)));
    assert_eq!(plain.capability.as_deref(), Some(capability));
    assert_eq!(plain.client_id, None);
    let again = bench.request(&json!({})).unwrap();
    assert_ne!(plain.token, again.token);

    for ttl in [1, 100, 123, 86_400_000] {
        let details = bench.request(&json!({"ttl": ttl})).unwrap();
        assert_eq!(details.expires, Some(now + ttl));
    }
    assert_eq!(bench.request(&json!({"ttl": 0})).unwrap().expires, Some(now + 3_600_000));

    let wanted = json!({"capability": r#"{"b":["*"],"a":["subscribe"]}"#, "clientId": "me"});
    let details = bench.request(&wanted).unwrap();
    let granted = r#"{"a":["subscribe"],"b":["publish","subscribe"]}"#;
    assert_eq!(details.capability.as_deref(), Some(granted));
    assert_eq!(details.client_id.as_deref(), Some("me"));

    for (body, expected) in [
        (json!({"ttl": -1}), (400, 40003)),
        (json!({"ttl": 86_400_001}), (400, 40003)),
        (json!({"ttl": "soon"}), (400, 40000)),
        (json!({"ttl": 1.5}), (400, 40000)),
        (json!({"capability": r#"{"a":["publish_"]}"#}), (400, 40000)),
        (json!({"capability": r#"{"a":[]}"#}), (400, 40000)),
        (json!({"capability": "x"}), (400, 40000)),
        (json!({"capability": r#"{"c":["publish"]}"#}), (401, 40160)),
        (json!({"clientId": ""}), (400, 40012)),
        (json!({"clientId": 7}), (400, 40000)),
        (json!({"keyName": "app-id.other"}), (401, 40101)),
    ] {
        assert_eq!(bench.request(&body).err(), Some(expected), "{body}");
    }
}

#[test]
fn a_signed_request_is_accepted_once_and_within_two_minutes() {
    let mut bench = Bench::new();
    let now = bench.now.wall;
    let full = json!({
        "keyName": KEY_NAME,
        "ttl": 1000,
        "capability": r#"{"a":["publish"]}"#,
        "clientId": "me",
        "timestamp": now,
        "nonce": "1",
    });
    let signed = bench.signed(full.clone());
    assert_eq!(bench.request(&signed).unwrap().expires, Some(now + 1000));
    assert_eq!(bench.request(&signed).err(), Some((401, 40105)));
    let same_nonce = bench.signed(json!({"timestamp": now, "nonce": "1"}));
    assert_eq!(bench.request(&same_nonce).err(), Some((401, 40105)));

    // Numbers as text, fields that are null, an empty ttl.
    for (nonce, body) in [
        ("2", json!({"ttl": "123", "timestamp": now.to_string()})),
        ("3", json!({"ttl": null, "capability": null, "clientId": null, "timestamp": now})),
        ("4", json!({"ttl": 0, "timestamp": now as f64})),
    ] {
        let mut body = body;
        body["nonce"] = json!(nonce);
        let mut signed = bench.signed(body.clone());
        if nonce == "4" {
            body["timestamp"] = json!(now);
            signed = bench.signed(body);
            signed["timestamp"] = json!(now as f64);
        }
        assert!(bench.request(&signed).is_ok(), "{signed}");
    }

    let mut tampered = bench.signed(json!({"timestamp": now, "nonce": "5"}));
    tampered["ttl"] = json!(5);
    assert_eq!(bench.request(&tampered).err(), Some((401, 40101)));
    for mac in ["", "%", "AAAA"] {
        tampered["mac"] = json!(mac);
        assert_eq!(bench.request(&tampered).err(), Some((401, 40101)), "{mac}");
    }
    for missing in ["timestamp", "nonce"] {
        let mut body = bench.signed(json!({"timestamp": now, "nonce": "6"}));
        body.as_object_mut().unwrap().remove(missing);
        assert_eq!(bench.request(&body).err(), Some((400, 40000)), "{missing}");
    }
    for (offset, ok) in [(-120_000, true), (120_000, true), (-120_001, false), (120_001, false)] {
        let nonce = offset.to_string();
        let body = bench.signed(json!({"timestamp": now + offset, "nonce": nonce}));
        assert_eq!(bench.request(&body).err(), (!ok).then_some((401, 40104)), "{offset}");
    }

    // The nonce is stored while the request is valid. Later the timestamp is too old.
    let late = bench.signed(json!({"timestamp": now + 120_000, "nonce": "7"}));
    assert!(bench.request(&late).is_ok());
    bench.advance(Duration::from_millis(240_000));
    assert_eq!(bench.request(&late).err(), Some((401, 40105)));
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.request(&late).err(), Some((401, 40104)));
}

#[test]
fn an_unsigned_request_needs_the_same_key() {
    let mut bench = Bench::new();
    let other = Arc::new(Key::new("other", "hidden", Capability::all()));
    bench.app.access.keys.push(other);
    let request = token_request::read(JsonObject::new(), KEY_NAME).unwrap();
    for (key, expected) in [
        (None, (401, 40101)),
        (Some("app-id.other:hidden"), (401, 40101)),
        (Some("app-id.key:wrong"), (401, 40101)),
        (Some("app-id.nobody:secret"), (401, 40400)),
    ] {
        let key = key.map(|key| PresentedKey::parse(key).unwrap());
        let result = bench.request_token("key", &request, key.as_ref());
        assert_eq!(codes(result.map(drop)), Err(expected));
    }
    let result = bench.request_token("nobody", &request, None);
    assert_eq!(codes(result.map(drop)), Err((401, 40400)));
}

#[test]
fn a_token_is_valid_until_the_millisecond_of_its_expiry() {
    let mut bench = Bench::new();
    let token = bench.request(&json!({"ttl": 100})).unwrap().token;
    bench.advance(Duration::from_millis(99));
    assert!(bench.authenticate(&token, None).is_ok());
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.authenticate(&token, None).unwrap_err(), (401, 40142));
}

#[test]
fn malformed_and_foreign_tokens_are_refused() {
    let mut bench = Bench::new();
    let token = bench.request(&json!({})).unwrap().token;
    let forged = format!("{}A", &token[..token.len() - 1]);
    let other_purpose = {
        let facts = json!({"key": "key", "issued": 0, "expires": i64::MAX}).to_string();
        let mut sealed = facts.clone().into_bytes();
        sealed.extend(bench.mac(&facts));
        format!("{APP}.{}", URL_SAFE_NO_PAD.encode(sealed))
    };
    for text in [
        "",
        "invalid-token",
        "made:up",
        "Sdnurv_some_invalid_token_nkds9r7",
        "app-id.",
        "app-id.AAAA",
        "long-app.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "a.b.c",
        &forged,
        &other_purpose,
    ] {
        assert_eq!(bench.authenticate(text, None).unwrap_err(), (401, 40101), "{text}");
    }
}

#[test]
fn a_jwt_grants_what_its_claims_say() {
    let capability = json!({"a": ["publish", "subscribe"], "b": ["*"]});
    let bench = Bench::with_capability(capability);
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": KEY_NAME});
    let seconds = bench.now.wall / 1000;
    let with = |extra: Value| {
        let mut claims = json!({"iat": seconds, "exp": seconds + 10});
        claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        claims
    };

    let identity = bench.authenticate(&bench.jwt(&header, &with(json!({}))), None).unwrap();
    assert_eq!(identity.client, Client::Anonymous);
    assert_eq!(identity.capability, bench.key.capability);
    let claims = with(json!({
        "x-ably-capability": r#"{"*":["subscribe"]}"#,
        "x-ably-clientId": "me",
    }));
    let identity = bench.authenticate(&bench.jwt(&header, &claims), Some("me")).unwrap();
    assert_eq!(identity.client, Client::Named("me".into()));
    assert_eq!(identity.capability.to_string(), r#"{"a":["subscribe"],"b":["subscribe"]}"#);
    let wildcard = bench.jwt(&header, &with(json!({"x-ably-clientId": "*"})));
    assert_eq!(bench.authenticate(&wildcard, None).unwrap().client, Client::Wildcard);
    let named = bench.authenticate(&wildcard, Some("me")).unwrap().client;
    assert_eq!(named, Client::Named("me".into()));
    let fraction = with(json!({"exp": (bench.now.wall + 1) as f64 / 1000.0}));
    assert!(bench.authenticate(&bench.jwt(&header, &fraction), None).is_ok());

    for (header, claims, expected) in [
        (json!({"alg": "none", "kid": KEY_NAME}), with(json!({})), (401, 40144)),
        (json!({"alg": "HS256"}), with(json!({})), (404, 40400)),
        (json!({"alg": "HS256", "kid": "invalid.invalid"}), with(json!({})), (404, 40400)),
        (json!({"alg": "HS256", "kid": "app-id.nobody"}), with(json!({})), (401, 40400)),
        (header.clone(), json!(7), (401, 40144)),
        (header.clone(), json!({"exp": seconds + 10}), (401, 40144)),
        (header.clone(), json!({"iat": seconds}), (401, 40144)),
        (header.clone(), with(json!({"exp": "later"})), (401, 40144)),
        (header.clone(), with(json!({"exp": seconds})), (401, 40142)),
        (header.clone(), with(json!({"x-ably-capability": "x"})), (401, 40144)),
        (header.clone(), with(json!({"x-ably-clientId": 7})), (401, 40144)),
        (header.clone(), with(json!({"x-ably-clientId": ""})), (401, 40144)),
    ] {
        let jwt = bench.jwt(&header, &claims);
        assert_eq!(bench.authenticate(&jwt, None).unwrap_err(), expected, "{header} {claims}");
    }
    let mut broken = bench.jwt(&header, &with(json!({})));
    broken.truncate(broken.rfind('.').unwrap() + 1);
    broken.push_str("AAAA");
    assert_eq!(bench.authenticate(&broken, None).unwrap_err(), (401, 40144));
}

#[test]
fn a_foreign_jwt_may_contain_a_token() {
    let mut bench = Bench::new();
    let seconds = bench.now.wall / 1000;
    let native = bench.request(&json!({"clientId": "me", "ttl": 10_000})).unwrap().token;
    let ours = json!({"alg": "HS256", "typ": "JWT", "kid": KEY_NAME});
    let claims = json!({"iat": seconds, "exp": seconds + 10, "x-ably-clientId": "me"});
    let jwt = bench.jwt(&ours, &claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    // The signature of the outer JWT cannot be checked: the server does not know its key.
    let signed = |header: &Value, claims: &Value| format!("{}.{}.c2ln", part(header), part(claims));
    let theirs = json!({"alg": "RS256", "kid": "theirs"});
    let with_token = |header: &Value, token: &str| {
        let mut header = header.clone();
        header["x-ably-token"] = json!(token);
        header
    };
    for token in [&*native, &jwt] {
        let in_header = signed(&with_token(&theirs, token), &json!({"exp": seconds + 5}));
        let in_claims = signed(&theirs, &json!({"exp": seconds + 5, "x-ably-token": token}));
        let encrypted = json!({"alg": "dir", "enc": "A256GCM"});
        let encrypted = format!("{}..aXY.dGV4dA.dGFn", part(&with_token(&encrypted, token)));
        let twice = signed(&with_token(&theirs, &in_header), &json!({}));
        for carrier in [&in_header, &in_claims, &encrypted, &twice] {
            let identity = bench.authenticate(carrier, None).unwrap();
            assert_eq!(identity.client, Client::Named("me".into()), "{carrier}");
        }
        let thrice = signed(&with_token(&theirs, &twice), &json!({}));
        let cut = encrypted.rsplit_once('.').unwrap().0;
        for (carrier, expected) in [
            (signed(&theirs, &json!({"exp": seconds + 11, "x-ably-token": token})), (401, 40144)),
            (signed(&theirs, &json!({"exp": "x", "x-ably-token": token})), (401, 40144)),
            (signed(&theirs, &json!({"exp": seconds, "x-ably-token": token})), (401, 40142)),
            (signed(&theirs, &json!({"x-ably-token": 7})), (401, 40144)),
            (signed(&theirs, &json!({"x-ably-token": "made:up"})), (401, 40101)),
            (signed(&theirs, &json!({})), (401, 40144)),
            (format!("{}..aXY.dGV4dA.dGFn", part(&theirs)), (401, 40144)),
            (cut.to_owned(), (401, 40144)),
            (thrice, (401, 40144)),
        ] {
            assert_eq!(bench.authenticate(&carrier, None).unwrap_err(), expected, "{carrier}");
        }
    }
    // It may hold for as long as the token.
    let carrier = signed(&with_token(&theirs, &jwt), &json!({"exp": seconds + 10}));
    assert!(bench.authenticate(&carrier, None).is_ok());
    let carrier = signed(&with_token(&theirs, &native), &json!({}));
    bench.advance(Duration::from_secs(10));
    assert_eq!(bench.authenticate(&carrier, None).unwrap_err(), (401, 40142));
}

#[test]
fn a_token_is_valid_only_for_its_client_id() {
    let mut bench = Bench::new();
    for (of_token, of_request, expected) in [
        (None, None, Ok(Client::Anonymous)),
        (None, Some("me"), Err((401, 40102))),
        (Some("me"), None, Ok(Client::Named("me".into()))),
        (Some("me"), Some("me"), Ok(Client::Named("me".into()))),
        (Some("me"), Some("you"), Err((401, 40102))),
        (Some("me"), Some("*"), Err((400, 40012))),
        (Some("*"), None, Ok(Client::Wildcard)),
        (Some("*"), Some("me"), Ok(Client::Named("me".into()))),
    ] {
        let token = bench.request(&json!({"clientId": of_token})).unwrap().token;
        let client = bench.authenticate(&token, of_request).map(|identity| identity.client);
        assert_eq!(client, expected, "{of_token:?} {of_request:?}");
    }
    for (of_token, claimed, expected) in [
        (None, None, Ok(None)),
        (None, Some("me"), Err(40012)),
        (Some("me"), None, Ok(Some("me"))),
        (Some("me"), Some("you"), Err(40012)),
        (Some("*"), None, Ok(None)),
        (Some("*"), Some("you"), Ok(Some("you"))),
    ] {
        let token = bench.request(&json!({"clientId": of_token})).unwrap().token;
        let identity = bench.authenticate(&token, None).unwrap();
        let stamped = identity.client_id_for(claimed.map(Str::from));
        let stamped = stamped.map_err(|error| error.code.0);
        assert_eq!(stamped.as_ref().map(Option::as_deref), expected.as_ref().map(|id| *id));
    }
}

#[test]
fn a_connection_is_asked_for_a_new_token_and_ends_when_the_old_one_expires() {
    let mut bench = Bench::new();
    let token = bench.request(&json!({"ttl": 35_000, "clientId": "me"})).unwrap().token;
    let identity = bench.authenticate(&token, None).unwrap();
    let (transport, connected) = bench.connect_as(identity.clone(), None, true);
    assert_eq!(connected.details.as_ref().unwrap().client_id.as_deref(), Some("me"));
    bench.attach(transport, "a", None);

    bench.advance(Duration::from_millis(4_999));
    assert_eq!(bench.frames(transport), []);
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.frames(transport), [ServerFrame::Auth]);

    let next = bench.request(&json!({"ttl": 30_000, "clientId": "me"})).unwrap().token;
    let frames = bench.auth(transport, &next);
    let [ServerFrame::Connected(updated)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(updated.connection_id, connected.connection_id);
    assert_eq!(key(updated), key(&connected));

    // The client is not asked for a new token: the token was valid for at most thirty seconds from the start.
    bench.advance(Duration::from_millis(29_999));
    assert_eq!(bench.frames(transport), []);
    bench.advance(Duration::from_millis(1));
    let frames = bench.frames(transport);
    let [ServerFrame::Disconnected { error: Some(error) }] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!((error.status_code, error.code.0), (401, 40142));
    assert_eq!(&*error.message, "token expired");
    assert!(
        bench.outputs.iter().any(|output| matches!(output, Output::Close(it) if *it == transport))
    );

    // The client can resume the connection, as after any drop.
    let fresh = bench.request(&json!({"ttl": 1000, "clientId": "me"})).unwrap().token;
    let identity = bench.authenticate(&fresh, None).unwrap();
    let (_, resumed) = bench.connect_as(identity, Some(&key(&connected)), true);
    assert_eq!(resumed.connection_id, connected.connection_id);
    assert_eq!(resumed.error, None);
}

#[test]
fn the_token_of_a_dropped_connection_has_no_timer() {
    let mut bench = Bench::new();
    let token = bench.request(&json!({"ttl": 1000})).unwrap().token;
    let identity = bench.authenticate(&token, None).unwrap();
    let (transport, _) = bench.connect_as(identity, None, true);
    assert_eq!(bench.app.connections.token_watch.len(), 1);
    bench.app.transport_closed(transport, bench.now, &mut bench.outputs);
    assert!(bench.app.connections.token_watch.is_empty());
}

#[test]
fn a_new_token_changes_rights_at_once() {
    use ChannelMode::{Publish, Subscribe};
    let mut bench = Bench::new();
    let token = |bench: &mut Bench, capability: &str| {
        bench.request(&json!({"capability": capability})).unwrap().token
    };
    let first = token(&mut bench, r#"{"a":["subscribe"],"b":["subscribe"]}"#);
    let identity = bench.authenticate(&first, None).unwrap();
    let (transport, _) = bench.connect_as(identity, None, true);
    assert!(!bench.attach(transport, "a", None).flags.contains(Publish.flag()));
    bench.attach(transport, "b", None);
    bench.publish(transport, "a", 0, "too early");
    assert_eq!(nack_code(bench.frames(transport)), (0, 40160));

    // The new token allows more on one channel, and nothing on the other.
    let second = token(&mut bench, r#"{"a":["publish","subscribe"]}"#);
    let frames = bench.auth(transport, &second);
    let [ServerFrame::Connected(_), ServerFrame::Error(failed)] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(failed.channel.as_deref(), Some("b"));
    assert_eq!(failed.error.as_ref().unwrap().code.0, 40160);
    bench.publish(transport, "a", 1, "now");
    assert_eq!(bench.texts(transport).0, ["now"]);

    // With fewer rights, the attachment stays without messages. A further token restores them.
    for (capability, heard) in [(r#"{"a":["publish"]}"#, false), (r#"{"a":["*"]}"#, true)] {
        let next = token(&mut bench, capability);
        assert_eq!(bench.auth(transport, &next).len(), 1);
        let (other, _) = bench.connect(None);
        bench.publish(other, "a", 0, "x");
        assert_eq!(bench.texts(transport).0.len(), usize::from(heard), "{capability}");
    }
    let modes = bench.app.connections.iter().find_map(|it| it.attached.get(&"a".into())).unwrap();
    assert!(modes.granted.contains(Subscribe.flag()));
}

#[test]
fn an_incompatible_token_ends_the_connection() {
    for (of_token, code) in [(Some("you"), 40102), (None, 40102)] {
        let mut bench = Bench::new();
        let first = bench.request(&json!({"clientId": "me"})).unwrap().token;
        let identity = bench.authenticate(&first, None).unwrap();
        let (transport, _) = bench.connect_as(identity, None, true);
        let token = bench.request(&json!({"clientId": of_token})).unwrap().token;
        assert_eq!(error_code(&bench.auth(transport, &token)), code);
    }
    let mut bench = Bench::new();
    for token in ["made:up", "abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let (transport, _) = bench.connect(None);
        assert_eq!(error_code(&bench.auth(transport, token)), 40101);
        assert_eq!(bench.auth(transport, token), []);
    }
}

fn error_code(frames: &[ServerFrame]) -> u32 {
    match frames {
        [ServerFrame::Error(frame)] if frame.channel.is_none() => {
            frame.error.as_ref().unwrap().code.0
        }
        other => panic!("expected one ERROR, got {other:?}"),
    }
}

#[test]
fn a_revocation_applies_to_tokens_issued_before_its_time() {
    let mut bench = Bench::new();
    let mut revocable = Key::new("key", "secret", Capability::all());
    revocable.revocable = true;
    bench.key = Arc::new(revocable);
    let twin = Arc::new(Key::new("twin", "secret", Capability::all()));
    bench.app.access.keys = vec![Arc::clone(&bench.key), twin];
    let jwt_of = |bench: &Bench, kid: &str, group: &str| {
        let header = json!({"alg": "HS256", "kid": kid});
        let issued = bench.now.wall as f64 / 1000.0;
        let claims = json!({"iat": issued, "exp": issued + 3600.0, "x-ably-revocation-key": group});
        bench.jwt(&header, &claims)
    };
    let jwt = |bench: &Bench, group: &str| jwt_of(bench, KEY_NAME, group);
    let of_twin = jwt_of(&bench, "app-id.twin", "group");
    let (old, other) = (jwt(&bench, "group"), jwt(&bench, "other"));
    let identity = bench.authenticate(&old, None).unwrap();
    let (transport, _) = bench.connect_as(identity, None, true);
    bench.advance(Duration::from_millis(2));
    let request = RevocationRequest {
        targets: vec!["revocationKey:group".into()],
        issued_before: None,
        allow_reauth_margin: true,
    };
    let presented = PresentedKey::parse("app-id.key:secret").unwrap();
    let Bench { app, now, outputs, .. } = &mut bench;
    let revoked = app.revoke_tokens("key", &presented, request, *now, outputs).unwrap();
    assert_eq!(revoked.issued_before, bench.now.wall);
    assert_eq!(revoked.applies_at, bench.now.wall + 30_001);
    assert_eq!(bench.frames(transport), [ServerFrame::Auth]);

    bench.advance(Duration::from_millis(30_000));
    assert!(bench.authenticate(&old, None).is_ok());
    assert_eq!(bench.frames(transport), []);
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.authenticate(&old, None).unwrap_err(), (401, 40141));
    assert!(bench.authenticate(&other, None).is_ok());
    assert!(bench.authenticate(&of_twin, None).is_ok(), "it is another key's");
    assert!(bench.authenticate(&jwt(&bench, "group"), None).is_ok());
    let frames = bench.frames(transport);
    let [ServerFrame::Disconnected { error: Some(error) }] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!((error.status_code, error.code.0), (401, 40141));
}
