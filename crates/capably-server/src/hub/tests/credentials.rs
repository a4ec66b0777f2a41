//! Times of JWTs, token requests and revocations, in virtual time.

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use base64::{Engine, engine::GeneralPurpose};
use serde_json::{Value, json};

use super::*;
use crate::hub::access::{
    identity::PresentedKey,
    revocation::{RevocationRequest, Revoked},
};

const KEY_NAME: &str = "app-id.key";

fn header() -> Value {
    json!({"alg": "HS256", "typ": "JWT", "kid": KEY_NAME})
}

impl Bench {
    fn with_revocable_key() -> Self {
        let mut bench = Self::new();
        let mut key = Key::new("key", "secret", Capability::all());
        key.revocable = true;
        bench.key = Arc::new(key);
        bench.app.access.keys = vec![Arc::clone(&bench.key)];
        bench
    }

    fn revoke(&mut self, client: &str, allow_reauth_margin: bool) -> Revoked {
        let request = RevocationRequest {
            targets: vec![format!("clientId:{client}").into()],
            issued_before: None,
            allow_reauth_margin,
        };
        let presented = PresentedKey::parse("app-id.key:secret").unwrap();
        self.app.revoke_tokens("key", &presented, request, self.now, &mut self.outputs).unwrap()
    }

    fn token_of(&mut self, client: &str) -> String {
        self.request(&json!({"clientId": client})).unwrap().token.to_string()
    }
}

#[test]
fn a_jwt_must_be_issued_in_the_past_and_last_a_day_at_most() {
    let bench = Bench::new();
    let now = bench.now.wall as f64 / 1000.0;
    let check = |iat: f64, exp: f64| {
        let jwt = bench.jwt(&header(), &json!({"iat": iat, "exp": exp}));
        bench.authenticate(&jwt, None).map(drop)
    };
    for (iat, exp, expected) in [
        (0.0, 10.0, Ok(())),
        // The issuer's clock may be ahead by as much as with a token request.
        (119.0, 130.0, Ok(())),
        (120.0, 130.0, Ok(())),
        (121.0, 130.0, Err((401, 40144))),
        (3600.0, 7200.0, Err((401, 40144))),
        (0.0, 86_400.0, Ok(())),
        (0.0, 86_401.0, Err((400, 40003))),
        (-86_390.0, 10.0, Ok(())),
        (-86_390.0, 11.0, Err((400, 40003))),
        (-10.0, 1e11, Err((400, 40003))),
        (10.0, -1e11, Err((401, 40142))),
    ] {
        assert_eq!(check(now + iat, now + exp), expected, "{iat} {exp}");
    }
}

#[test]
fn a_jwt_may_use_any_base64_alphabet() {
    let bench = Bench::new();
    let seconds = bench.now.wall / 1000;
    let engines: [&GeneralPurpose; 4] = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let (mut seen, mut taken) = (String::new(), 0);
    for fill in ["", "a", "ab"] {
        // The alphabets encode these bytes differently at each of the three offsets.
        let id = format!("{fill}\u{ff}~~~???>>>\u{3ff}\u{3ff}");
        let claims = json!({"iat": seconds, "exp": seconds + 10, "x-ably-clientId": id});
        let mut header = header();
        header["note"] = json!(id);
        for outer in engines {
            for inner in engines {
                let signed = format!(
                    "{}.{}",
                    outer.encode(header.to_string()),
                    inner.encode(claims.to_string())
                );
                let jwt = format!("{signed}.{}", outer.encode(bench.mac(&signed)));
                let identity = bench.authenticate(&jwt, Some(&id));
                assert!(identity.is_ok(), "{jwt}: {identity:?}");
                let (_, rest) = jwt.split_once('.').unwrap();
                assert_eq!(
                    bench.authenticate(&format!("{}.{rest}", URL_SAFE.encode("{}")), None).err(),
                    Some((401, 40101)),
                );
                seen.push_str(&jwt);
                taken += 1;
            }
        }
    }
    assert_eq!(taken, 48);
    for character in ['+', '/', '-', '_', '='] {
        assert!(seen.contains(character), "{character}");
    }
    for broken in ["*", "A", "A===", "=AAA"] {
        let jwt = bench.jwt(&header(), &json!({"iat": seconds, "exp": seconds + 10}));
        let (signed, _) = jwt.rsplit_once('.').unwrap();
        let refused = bench.authenticate(&format!("{signed}.{broken}"), None).unwrap_err();
        assert_eq!(refused, (401, 40144), "{broken}");
    }
}

// Spec: TE5
#[test]
fn a_nonce_may_be_used_again_with_another_timestamp() {
    let mut bench = Bench::new();
    let now = bench.now.wall;
    for timestamp in [now, now + 1, now - 1] {
        let signed = bench.signed(json!({"timestamp": timestamp, "nonce": "n"}));
        assert!(bench.request(&signed).is_ok(), "{timestamp}");
        assert_eq!(bench.request(&signed).err(), Some((401, 40105)), "{timestamp}");
    }
    let with_ttl = bench.signed(json!({"timestamp": now, "nonce": "n", "ttl": 5}));
    assert_eq!(bench.request(&with_ttl).err(), Some((401, 40105)));
}

// Spec: RSA17
#[test]
fn a_revocation_applies_to_earlier_tokens_and_not_to_later_ones() {
    let mut bench = Bench::with_revocable_key();
    let (old, other) = (bench.token_of("ada"), bench.token_of("bob"));
    // All of this happens in one millisecond.
    for _ in 0..3 {
        let revoked = bench.revoke("ada", false);
        assert_eq!(revoked.issued_before, bench.now.wall);
        assert_eq!(revoked.applies_at, bench.now.wall);
        assert_eq!(bench.authenticate(&old, None).unwrap_err(), (401, 40141));
        let new = bench.token_of("ada");
        assert!(bench.authenticate(&new, None).is_ok());
        bench.revoke("ada", false);
        assert_eq!(bench.authenticate(&new, None).unwrap_err(), (401, 40141));
    }
    assert!(bench.authenticate(&other, None).is_ok());
    let held = bench.token_of("ada");
    bench.advance(Duration::from_millis(50));
    assert!(bench.authenticate(&held, None).is_ok(), "it was issued after the last revocation");
    let details = bench.request(&json!({"ttl": 1000})).unwrap();
    assert_eq!(
        (details.issued, details.expires),
        (Some(bench.now.wall), Some(bench.now.wall + 1000))
    );
}

#[test]
fn an_explicit_revocation_time_is_exclusive() {
    let mut bench = Bench::with_revocable_key();
    let old = bench.token_of("ada");
    bench.advance(Duration::from_millis(1));
    let new = bench.token_of("ada");
    let request = RevocationRequest {
        targets: vec!["clientId:ada".into()],
        issued_before: Some(bench.now.wall),
        allow_reauth_margin: false,
    };
    let presented = PresentedKey::parse("app-id.key:secret").unwrap();
    let Bench { app, now, outputs, .. } = &mut bench;
    let revoked = app.revoke_tokens("key", &presented, request, *now, outputs).unwrap();
    assert_eq!(revoked.issued_before, bench.now.wall);
    assert_eq!(bench.authenticate(&old, None).unwrap_err(), (401, 40141));
    assert!(bench.authenticate(&new, None).is_ok());
}

#[test]
fn a_revocation_with_a_margin_does_not_delay_an_immediate_one() {
    // A revocation with a margin is made before the immediate one, after it, or both.
    for margins in [&[true, false][..], &[false, true], &[true, false, true], &[true, true, false]]
    {
        let mut bench = Bench::with_revocable_key();
        let token = bench.token_of("ada");
        let identity = bench.authenticate(&token, None).unwrap();
        let (transport, _) = bench.connect_as(identity, None, true);
        for (number, margin) in margins.iter().enumerate() {
            bench.advance(Duration::from_millis(number as u64));
            bench.revoke("ada", *margin);
        }
        assert_eq!(bench.authenticate(&token, None).unwrap_err(), (401, 40141), "{margins:?}");
        match bench.frames(transport).pop() {
            Some(ServerFrame::Disconnected { error: Some(error) }) => {
                assert_eq!(error.code.0, 40141, "{margins:?}");
            }
            other => panic!("{margins:?}: {other:?}"),
        }
    }
    // Among revocations with a margin, the first one applies.
    let mut bench = Bench::with_revocable_key();
    let token = bench.token_of("ada");
    let first = bench.revoke("ada", true).applies_at;
    bench.advance(Duration::from_millis(20_000));
    bench.revoke("ada", true);
    bench.advance(Duration::from_millis((first - bench.now.wall - 1).unsigned_abs()));
    assert!(bench.authenticate(&token, None).is_ok());
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.authenticate(&token, None).unwrap_err(), (401, 40141));
}

#[test]
fn no_more_revocations_are_stored_than_can_concern_a_token() {
    let mut bench = Bench::with_revocable_key();
    for day in 0..5 {
        bench.revoke(&format!("client{day}"), false);
        let stored = serde_json::to_string(bench.app.revocations()).unwrap();
        assert_eq!(stored.matches("client").count(), 2.min(day + 1), "{stored}");
        bench.advance(Duration::from_secs(24 * 3600));
    }
}
