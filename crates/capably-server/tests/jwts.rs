//! JWTs over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use base64::{
    Engine,
    engine::{
        GeneralPurpose,
        general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
    },
};
use capably_protocol::{ClientFrame, Format, ServerFrame, frame::AuthDetails};
use capably_server::Server;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

fn jwt(server: &Server, base64: &GeneralPurpose, claims: &Value) -> String {
    let (name, secret) = server.key().split_once(':').unwrap();
    let header = json!({"typ": "JWT", "alg": "HS256", "kid": name});
    let part = |value: &Value| base64.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(claims));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let mac = mac.chain_update(&signed).finalize().into_bytes();
    format!("{signed}.{}", base64.encode(mac))
}

async fn now(server: &Server) -> i64 {
    let time = Http::connect(server).await.request("GET", "/time", &[], b"").await.json();
    time[0].as_i64().unwrap() / 1000
}

/// The JWT, encoded for a query.
fn in_query(jwt: &str) -> String {
    jwt.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[tokio::test]
async fn jwts_with_invalid_times_are_refused() {
    let server = server().await;
    let now = now(&server).await;
    for (iat, exp, expected) in [
        (now + 3600, now + 7200, (401, 40144)),
        (now, now + 86_401, (400, 40003)),
        (now - 40_000_000, now + 40_000_000, (400, 40003)),
        (now - 10, now - 5, (401, 40142)),
    ] {
        let jwt = jwt(&server, &URL_SAFE_NO_PAD, &json!({"iat": iat, "exp": exp}));
        let target = format!("/channels/a/messages?access_token={jwt}");
        let answer = Http::connect(&server).await.request("GET", &target, &[], b"").await;
        assert_eq!(answer.error(), expected, "{iat} {exp}");
        for format in FORMATS {
            let mut client = Client::open(&server, format, &format!("accessToken={jwt}")).await;
            assert_eq!(client.last_error().await, expected.1 as u32, "{iat} {exp}");
            // A connection that renews its token with this JWT ends as well.
            let (mut client, _) = Client::connect(&server, format).await;
            let access_token = jwt.as_str().into();
            client.send(&ClientFrame::Auth(AuthDetails { access_token })).await;
            assert_eq!(client.last_error().await, expected.1 as u32, "{iat} {exp}");
        }
    }
}

#[tokio::test]
async fn jwts_in_any_base64_alphabet_authenticate_rest_and_websockets() {
    let server = server().await;
    let now = now(&server).await;
    for base64 in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
        for client in ["a\u{ff}?>\u{ff}", "ab\u{ff}?>\u{ff}", "abc\u{ff}?>\u{ff}"] {
            let claims = json!({"iat": now, "exp": now + 60, "x-ably-clientId": client});
            let jwt = jwt(&server, base64, &claims);
            let bearer = [format!("Authorization: Bearer {jwt}")];
            let target = "/channels/a/messages";
            let mut http = Http::connect(&server).await;
            assert_eq!(http.request("GET", target, &bearer, b"").await.status, 200, "{jwt}");
            let wrapped = [format!("Authorization: Bearer {}", STANDARD.encode(&jwt))];
            assert_eq!(http.request("GET", target, &wrapped, b"").await.status, 200, "{jwt}");
            for format in FORMATS {
                let query = format!("access_token={}", in_query(&jwt));
                let mut opened = Client::open(&server, format, &query).await;
                let ServerFrame::Connected(connected) = opened.next().await else {
                    panic!("{jwt}")
                };
                assert_eq!(connected.details.unwrap().client_id.as_deref(), Some(client));
            }
        }
    }
}
