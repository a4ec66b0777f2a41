//! `capably doctor` finds planted faults.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::Output,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use capably::{ClientOptions, Rest};
use serde_json::{Value, json};

use crate::{
    fake,
    faults::ask,
    support::{ClosedPort, Server, capably, finish, run, stderr, stdout, succeeded},
};

/// The results of the checks, in their order.
fn results(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs the doctor, which must fail with this exit code in this check first. Returns the result of that check.
fn diagnose(output: &Output, exit: i32, check: &str) -> Value {
    assert_eq!(output.status.code(), Some(exit), "{}{}", stdout(output), stderr(output));
    assert_eq!(stderr(output), format!("error: the check `{check}` failed\n"));
    let found = results(output).into_iter().find(|result| result["result"] == "failed").unwrap();
    assert_eq!(found["check"], check, "{found}");
    assert!(found["remedy"].as_str().is_some_and(|remedy| remedy.len() > 10), "{found}");
    found
}

#[test]
fn all_checks_pass_with_a_good_service() {
    let server = Server::start();
    let (_, secret) = server.key.split_once(':').unwrap();
    for format in ["json", "msgpack"] {
        let options = ["doctor", "--json", "--channel", "news", "--publish", "--format", format];
        let output = server.run(options);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        let results = results(&output);
        let names: Vec<_> =
            results.iter().map(|result| result["check"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "key",
                "proxy",
                "name",
                "tcp",
                "tls",
                "service",
                "clock",
                "access",
                "capability",
                "websocket",
                "message"
            ]
        );
        for result in &results {
            let expected = if result["check"] == "tls" { "skipped" } else { "ok" };
            assert_eq!(result["result"], expected, "{result}");
        }
        assert_eq!(results[10]["message"], "a message to news arrived");
        assert!(!stdout(&output).contains(secret));
    }
    let text = succeeded(server.run(["doctor"]));
    assert!(text.ends_with("\nChecks passed: 10, warnings: 0, failed: 0\n"), "{text}");
}

#[test]
fn a_wrong_secret_is_found() {
    let server = Server::start();
    for format in ["json", "msgpack"] {
        let key = server.wrong_key();
        let output = server.run(["doctor", "--json", "--key", &key, "--format", format]);
        let found = diagnose(&output, 4, "access");
        assert_eq!(found["code"], 40101);
        assert!(!stdout(&output).contains("not-the-secret"));
        // The WebSocket is not to blame.
        let results = results(&output);
        let websocket = results.iter().find(|result| result["check"] == "websocket").unwrap();
        assert_eq!(websocket["result"], "ok");
    }
}

#[test]
fn a_closed_port_is_found() {
    let closed = ClosedPort::new();
    let port = closed.number();
    let service = ["--endpoint", "127.0.0.1", "--port", &port, "--key", "app.key:secret"];
    let output = run(["doctor", "--json"].into_iter().chain(service));
    let found = diagnose(&output, 3, "tcp");
    assert!(found["remedy"].as_str().unwrap().contains("--port"), "{found}");
    assert_eq!(results(&output).last().unwrap()["result"], "skipped");
}

#[test]
fn a_clock_that_is_off_is_found() {
    for (offset, result, side) in [
        (3_600_000, "failed", "behind"),
        (180_000, "failed", "behind"),
        (-180_000, "failed", "ahead of"),
        (30_000, "warning", "behind"),
        (-30_000, "warning", "ahead of"),
        (0, "ok", ""),
    ] {
        let service = fake::serve(move |_| json!([millis() + offset]).into());
        let results = results(&service.run(["doctor", "--json"]));
        let clock = results.iter().find(|result| result["check"] == "clock").unwrap();
        assert_eq!(clock["result"], result, "{clock}");
        let message = clock["message"].as_str().unwrap();
        assert!(message.contains(side), "{message}");
        if result != "ok" {
            assert!(clock["remedy"].as_str().unwrap().contains("set the clock"), "{clock}");
        }
    }
    let service = fake::serve(|_| json!([millis() + 180_000]).into());
    let found = diagnose(&service.run(["doctor", "--json"]), 1, "clock");
    let message = found["message"].as_str().unwrap();
    assert!(message.contains("is 180.") || message.contains("is 179."), "{message}");
}

/// The time of this machine, in ms.
fn millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

#[test]
fn a_proxy_that_lets_no_websocket_pass_is_found() {
    let server = Server::start_with(&["--control", "0"]);
    for action in [
        json!({ "type": "http_respond", "status": 200, "body": {} }),
        json!({ "type": "refuse_connection" }),
        json!({ "type": "accept_and_close", "closeCode": 1011 }),
    ] {
        ask(&server, "DELETE", "/rules", "");
        let rule = json!({ "match": { "type": "ws_connect" }, "action": action });
        ask(&server, "POST", "/rules", &rule.to_string());
        for format in ["json", "msgpack"] {
            let output = server.run(["doctor", "--json", "--format", format]);
            let found = diagnose(&output, 3, "websocket");
            assert!(found["remedy"].as_str().unwrap().contains("a proxy"), "{found}");
            assert_eq!(results(&output).last().unwrap()["result"], "skipped");
        }
    }
}

#[test]
fn a_key_without_the_capability_is_found() {
    let server = Server::start();
    let app = json!({ "keys": [{ "capability": "{\"news\":[\"subscribe\",\"history\"]}" }] });
    let key = server.create_app(&app)["keys"][0]["keyStr"].as_str().unwrap().to_owned();
    for format in ["json", "msgpack"] {
        let options = ["--key", &key, "--json", "--format", format];
        let doctor = ["doctor", "--channel", "orders"].into_iter().chain(options);
        let found = diagnose(&server.run(doctor), 4, "capability");
        let message = found["message"].as_str().unwrap();
        assert!(message.starts_with("the key may do nothing on orders; "), "{message}");
        let output = server.run(["doctor", "--channel", "news"].into_iter().chain(options));
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        let results = results(&output);
        let capability = results.iter().find(|result| result["check"] == "capability").unwrap();
        assert_eq!(capability["result"], "warning");
        assert_eq!(capability["message"], "the key may subscribe, history on news");
    }
}

#[test]
fn a_name_that_does_not_exist_is_found() {
    let service = ["--endpoint", "no-such-host.invalid", "--key", "app.key:secret"];
    let found = diagnose(&run(["doctor", "--json"].into_iter().chain(service)), 3, "name");
    assert!(found["message"].as_str().unwrap().contains("no-such-host.invalid"), "{found}");
}

#[test]
fn a_malformed_key_is_found_and_the_network_is_checked_all_the_same() {
    let server = Server::start();
    for (key, why) in [
        ("no-dot:secret", "option `key`"),
        ("no-colon", "neither an API key nor a token"),
        ("\"app.key:secret\"", "a space or a quotation mark"),
        ("", "an API key is missing"),
    ] {
        let output = server.run(["doctor", "--json", "--key", key]);
        let found = diagnose(&output, 2, "key");
        assert!(found["message"].as_str().unwrap().contains(why), "{found}");
        let results = results(&output);
        let websocket = results.iter().find(|result| result["check"] == "websocket").unwrap();
        assert_eq!(websocket["result"], "ok", "{websocket}");
    }
}

/// Runs the doctor for service.example.test through a proxy of the environment. The proxy answers CONNECT so, and then
/// does with the connection what `then` does.
fn through_a_proxy(answer: &'static str, then: fn(TcpStream)) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://ada:s3cr3t@{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let lines = stream.by_ref().lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let _ = stream.get_mut().write_all(answer.as_bytes());
            then(stream.into_inner());
        }
    });
    let output = with_proxy(&proxy);
    assert!(!stdout(&output).contains("s3cr3t"), "{}", stdout(&output));
    output
}

fn with_proxy(proxy: &str) -> Output {
    let service = ["--endpoint", "service.example.test", "--key", "app.key:secret"];
    let mut command = capably(["doctor", "--json"].into_iter().chain(service));
    finish(command.env("HTTPS_PROXY", proxy).spawn().unwrap())
}

#[test]
fn a_proxy_of_the_environment_that_refuses_is_found() {
    for (answer, message, remedy) in [
        ("HTTP/1.1 407 No\r\n\r\n", "wants a user and a password", "user:password@"),
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "refuses the tunnel: HTTP/1.1 403 Forbidden",
            "NO_PROXY",
        ),
        ("SSH-2.0-x\u{1b}[2J\r\n\r\n", r"refuses the tunnel: SSH-2.0-x\u{1b}[2J", "HTTPS_PROXY"),
        ("", "opens no tunnel: ", "HTTPS_PROXY"),
    ] {
        let found = diagnose(&through_a_proxy(answer, drop), 3, "tcp");
        assert!(found["message"].as_str().unwrap().contains(message), "{found}");
        assert!(found["remedy"].as_str().unwrap().contains(remedy), "{found}");
    }
    let found = diagnose(&with_proxy("http://127.0.0.1:1"), 3, "tcp");
    assert!(
        found["message"].as_str().unwrap().contains("127.0.0.1:1 cannot be reached"),
        "{found}"
    );
    let found = diagnose(&with_proxy("socks5://127.0.0.1:1"), 3, "proxy");
    assert!(found["message"].as_str().unwrap().contains("`socks5`"), "{found}");
    // The loopback address has no proxy, though the environment names one.
    let server = Server::start();
    let mut command = server.client(["doctor", "--json"]);
    let output = finish(command.env("HTTP_PROXY", "http://127.0.0.1:1").spawn().unwrap());
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use rustls::{
        ServerConfig, ServerConnection,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };

    use super::*;

    const OPEN: &str = "HTTP/1.1 200 OK\r\n\r\n";
    const KEY: &[u8] = include_bytes!("../certificates/key.pem");
    const GOOD: &[u8] = include_bytes!("../certificates/good.pem");
    const EXPIRED: &[u8] = include_bytes!("../certificates/expired.pem");

    /// Answers a TLS handshake with a certificate.
    fn greet(mut stream: TcpStream, certificate: &[u8]) {
        let certificate = CertificateDer::from_pem_slice(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        // An alert for a peer that speaks no TLS is still to be written.
        let _ = connection.write_tls(&mut stream);
    }

    #[test]
    fn a_fault_of_tls_behind_an_open_port_is_found() {
        let not_tls = |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"220 mail.example.com\r\n");
        };
        for (then, message, remedy) in [
            (
                (|stream| greet(stream, EXPIRED)) as fn(TcpStream),
                "the certificate has expired: ",
                "must renew",
            ),
            (
                |stream| greet(stream, GOOD),
                "the issuer of the certificate is unknown",
                "inspects TLS",
            ),
            (not_tls, "the port answers without TLS", "--no-tls"),
            (drop, "the peer ends the connection during the TLS handshake", "a firewall may block"),
        ] {
            let output = through_a_proxy(OPEN, then);
            let found = diagnose(&output, 3, "tls");
            assert!(found["message"].as_str().unwrap().starts_with(message), "{found}");
            assert!(found["remedy"].as_str().unwrap().contains(remedy), "{found}");
            assert_eq!(results(&output).last().unwrap()["result"], "skipped");
        }
    }

    #[test]
    fn a_port_that_speaks_tls_to_a_client_without_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = u64::from(listener.local_addr().unwrap().port());
        thread::spawn(move || listener.incoming().for_each(|stream| greet(stream.unwrap(), GOOD)));
        let service = Server::at(port, "app.key:secret");
        let found = diagnose(&service.run(["doctor", "--json"]), 1, "service");
        assert!(found["message"].as_str().unwrap().contains("speaks TLS"), "{found}");
        assert!(found["remedy"].as_str().unwrap().contains("leave out --no-tls"), "{found}");
    }
}

#[tokio::test]
async fn a_token_is_checked_as_a_token() {
    let server = Server::start();
    let options = ClientOptions::new(server.key.as_str())
        .endpoint(server.endpoint.as_str())
        .port(u16::try_from(server.port).unwrap())
        .tls(false);
    let token = Rest::new(options).unwrap().auth().request_token().await.unwrap().token;
    for format in ["json", "msgpack"] {
        let output = server.run(["doctor", "--json", "--key", &token, "--format", format]);
        assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
        assert_eq!(results(&output)[7]["message"], "the service accepts the token");
        assert!(!stdout(&output).contains(token.as_str()));
        // {"exp":1}
        let expired = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl";
        let output = server.run(["doctor", "--json", "--key", expired, "--format", format]);
        let found = diagnose(&output, 4, "key");
        assert_eq!(found["code"], 40142);
        assert_eq!(found["message"], "the token has expired on 1970-01-01 at 00:00:01.000 UTC");
    }
}
