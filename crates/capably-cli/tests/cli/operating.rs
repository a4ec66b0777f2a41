//! Health, metrics, logs and draining of a server process.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use serde_json::Value;

use crate::support::{
    Server, Subscriber, capably, finish, interrupt, stderr, stdout, succeeded, terminate,
};

const KEY: &str = "operat.key:secret";

/// Status and body of a GET.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

fn address(server: &Server) -> SocketAddr {
    format!("127.0.0.1:{}", server.port).parse().unwrap()
}

fn is_ready(server: SocketAddr) -> bool {
    matches!(get(server, "/health/ready"), Some((200, _)))
}

fn metric(address: SocketAddr, name: &str) -> f64 {
    let (status, text) = get(address, "/metrics").unwrap();
    assert_eq!(status, 200);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// A load balancer: each connection goes to the first server that is ready. It lives as long as the test's process.
fn balance(servers: [SocketAddr; 2]) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let Some(server) = servers.into_iter().find(|server| is_ready(*server)) else {
                continue;
            };
            let server = TcpStream::connect(server).unwrap();
            copy(client.try_clone().unwrap(), server.try_clone().unwrap());
            copy(server, client);
        }
    });
    port.into()
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

#[test]
fn sigterm_sends_clients_to_another_server_and_ends_with_success() {
    let old = Server::start_with(&["--key", KEY, "--drain-timeout", "10"]);
    let new = Server::start_with(&["--key", KEY]);
    let (old_address, new_address) = (address(&old), address(&new));
    let port = balance([old_address, new_address]);
    let both = old.seen_at(port);
    let subscriber = Subscriber::start(&both, "moves", &["--json", "--count", "20"]);
    assert_eq!(metric(old_address, "capably_connections"), 1.0);
    // `publish` ends with success when the message is acknowledged.
    for number in 0..10 {
        succeeded(both.run(["publish", "moves", "before", &number.to_string()]));
    }
    let drained = old.terminate();
    assert_eq!(drained.status.code(), Some(0), "{}", stderr(&drained));
    assert_eq!(
        stderr(&drained),
        "Draining for up to 10 s. Clients get a DISCONNECTED and will connect to another server. A second signal stops \
         at once.\n"
    );
    while metric(new_address, "capably_channels") < 1.0 {
        thread::yield_now();
    }
    for number in 0..10 {
        succeeded(both.run(["publish", "moves", "after", &number.to_string()]));
    }
    let received: Vec<String> = subscriber
        .messages()
        .iter()
        .map(|message| format!("{} {}", message["name"], message["data"]))
        .collect();
    let expected: Vec<_> = ["before", "after"]
        .iter()
        .flat_map(|name| (0..10).map(move |number| format!("{:?} \"{number}\"", name)))
        .collect();
    assert_eq!(received, expected);
    assert_eq!(new.stop().status.code(), Some(0));
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    for second in [terminate, interrupt] {
        let server = Server::start_with(&["--drain-notice", "3600"]);
        let subscriber = Subscriber::start(&server, "stays", &["--json"]);
        let address = address(&server);
        let child = server.into_child();
        terminate(&child);
        while is_ready(address) {
            thread::yield_now();
        }
        assert_eq!(get(address, "/health/live").unwrap().0, 200);
        // The notice of an hour goes on, and clients with it.
        assert_eq!(metric(address, "capably_connections"), 1.0);
        second(&child);
        let output = finish(child);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let notices = stderr(&output);
        assert!(notices.ends_with("\nStopping. Clients get a DISCONNECTED and will reconnect.\n"));
        interrupt(&subscriber.child);
        subscriber.messages();
    }
}

#[test]
fn metrics_have_an_address_of_their_own() {
    let server = Server::start_with(&["--metrics", "127.0.0.1:0"]);
    assert_eq!(get(address(&server), "/metrics").unwrap().0, 404);
    let metrics: SocketAddr = server.metrics.clone().unwrap().parse().unwrap();
    succeeded(server.run(["publish", "counted", "one"]));
    assert_eq!(metric(metrics, "capably_messages_received_total{interface=\"realtime\"}"), 1.0);
    assert_eq!(get(metrics, "/health/ready").unwrap().0, 200);
}

#[test]
fn a_log_has_spans_and_no_secrets_in_either_format() {
    for format in ["text", "json"] {
        let mut command = capably(["serve", "--json", "--port", "0", "--key", KEY]);
        command.args(["--log-format", format]).env("RUST_LOG", "debug");
        let server = Server::start_as(command);
        let secret = KEY.split_once(':').unwrap().1;
        succeeded(server.run(["publish", "private-name", "one"]));
        let target = format!("/channels/private-name/messages?key={KEY}");
        assert_eq!(get(address(&server), &target).unwrap().0, 200);
        let output = server.stop();
        let log = stderr(&output);
        assert!(!log.contains(secret) && !log.contains("private-name"), "{log}");
        assert_eq!(stdout(&output), "", "the log goes to stderr");
        if format == "text" {
            let request = "request{method=GET app=\"operat\" route=\"/channels/{channel}/messages\" status=200}";
            assert!(log.contains(request), "{log}");
            assert!(!log.contains('\x1b'), "colours are for terminals: {log}");
            continue;
        }
        let events: Vec<Value> =
            log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let find = |message: &str| {
            let event = events.iter().find(|event| event["message"] == message);
            event.unwrap_or_else(|| panic!("no `{message}` in {log}"))
        };
        assert_eq!(find("the server is ready")["level"], "INFO");
        let request = &find("a request is answered")["span"];
        assert_eq!(request["route"], "/channels/{channel}/messages");
        assert_eq!((&request["app"], &request["status"]), (&"operat".into(), &200.into()));
        let connection = &find("a client has connected")["span"];
        assert_eq!(
            (&connection["name"], &connection["app"]),
            (&"connection".into(), &"operat".into())
        );
        assert!(connection["connection"].as_str().is_some_and(|id| id.len() > 8), "{connection}");
    }
}

#[test]
fn a_log_at_the_usual_level_has_no_line_for_each_client_or_request() {
    let server = Server::start_with(&["--log-format", "json"]);
    for _ in 0..3 {
        succeeded(server.run(["publish", "quiet", "one"]));
    }
    let output = server.stop();
    let messages: Vec<String> = stderr(&output)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(messages, ["the server is ready", "the server stops"]);
}
