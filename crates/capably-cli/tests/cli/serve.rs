use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use crate::support::{
    Server, Subscriber, capably, finish, interrupt, run, stderr, stdout, succeeded,
};

#[test]
fn a_server_prints_its_address_and_stops_on_ctrl_c() {
    let server = Server::start();
    assert_eq!(server.endpoint, "127.0.0.1");
    let output = server.stop();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "Stopping. Clients get a DISCONNECTED and will reconnect.\n");
    assert_eq!(stdout(&output), "", "nothing beside the first line");
}

#[test]
fn the_default_output_suggests_the_next_command() {
    let key = "wxyz12.key:secret";
    let arguments = ["serve", "--port", "0", "--key", key, "--control", "0"];
    let mut child = capably(arguments).spawn().unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.starts_with("  capably publish"))
        .collect();
    interrupt(&child);
    assert_eq!(finish(child).status.code(), Some(0));
    let value = |name: &str| {
        let line = lines.iter().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    assert_eq!(value("endpoint"), "127.0.0.1");
    assert_eq!(value("key"), key);
    assert!(value("control").starts_with("http://127.0.0.1:"), "{lines:?}");
    let port: u16 = value("port").parse().unwrap();
    let console = value("console");
    let token = console.strip_prefix(&format!("http://127.0.0.1:{port}/console/#")).unwrap();
    assert_eq!(token.len(), 43);
    let export =
        format!("  export CAPABLY_ENDPOINT=127.0.0.1 CAPABLY_PORT={port} CAPABLY_KEY={key}");
    assert!(lines.contains(&export), "{lines:?}");
}

#[test]
fn beyond_loopback_the_console_needs_its_option() {
    for (options, is_there) in [
        (&[][..], true),
        (&["--no-console"], false),
        (&["--bind", "0.0.0.0"], false),
        (&["--bind", "0.0.0.0", "--console"], true),
    ] {
        let server = Server::start_with(options);
        assert_eq!(server.console.is_some(), is_there, "{options:?}");
        let url = format!("http://127.0.0.1:{}/console/#", server.port);
        assert!(server.console.as_ref().is_none_or(|it| it.starts_with(&url)), "{options:?}");
    }
    assert_eq!(run(["serve", "--console", "--no-console"]).status.code(), Some(2));
}

#[test]
fn a_taken_port_is_an_error_with_a_remedy() {
    let server = Server::start();
    let output = run(["serve", "--port", &server.port.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        format!(
            "error: port {} on 127.0.0.1 is in use\n  remedy: stop the program that uses the port, or choose \
             another port: --port 0 takes a free one\n",
            server.port
        )
    );
}

#[test]
fn a_malformed_key_is_an_error() {
    for (key, why) in [
        ("nonsense", "error: an API key has the form `appId.keyId:secret`\n"),
        (
            "app.key:secret",
            "error: the app id, the part of the key before the first dot, must have six ",
        ),
    ] {
        let output = run(["serve", "--port", "0", "--key", key]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).starts_with(why), "{}", stderr(&output));
        assert!(stderr(&output).contains("\n  remedy: use a key such as "));
    }
}

#[test]
fn a_subscriber_survives_its_server_and_ends_on_ctrl_c() {
    let server = Server::start();
    let subscriber = Subscriber::start(&server, "orphans", &["--json"]);
    succeeded(server.run(["publish", "orphans", "last words"]));
    assert_eq!(server.stop().status.code(), Some(0));
    interrupt(&subscriber.child);
    let messages = subscriber.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["data"], "last words");
}

/// Requests a new app. Returns status and body of the answer.
fn make_app(server: &Server, authorization: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port as u16)).unwrap();
    let request = format!(
        "POST /apps HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[test]
fn beyond_loopback_creating_an_app_needs_the_secret() {
    let bearer = "Authorization: Bearer s3cr3t\r\n";
    let open = Server::start();
    assert_eq!(make_app(&open, "").0, 201);
    let off = Server::start_with(&["--bind", "0.0.0.0"]);
    assert_eq!(make_app(&off, bearer).0, 403);
    let mut command = capably(["serve", "--json", "--port", "0", "--bind", "0.0.0.0"]);
    command.env("CAPABLY_PROVISION_SECRET", "s3cr3t");
    for server in [
        Server::start_with(&["--bind", "0.0.0.0", "--provision-secret", "s3cr3t"]),
        Server::start_as(command),
    ] {
        assert_eq!(make_app(&server, "").0, 401);
        assert_eq!(make_app(&server, bearer).0, 201);
        let output = server.stop();
        assert!(!stderr(&output).contains("s3cr3t") && !stdout(&output).contains("s3cr3t"));
    }
    let mut help = capably(["serve", "--help"]);
    help.env("CAPABLY_PROVISION_SECRET", "s3cr3t");
    assert!(!succeeded(finish(help.spawn().unwrap())).contains("s3cr3t"));
}

#[test]
fn the_error_of_a_limit_names_the_limit() {
    let server = Server::start_with(&["--max-apps", "1"]);
    let (status, body) = make_app(&server, "");
    assert_eq!(status, 403);
    assert!(body.contains("its limit `max_apps` of 1"), "{body}");
    for (options, code, limit) in [
        (["--max-channels", "0"], "40114", "`channels.max` of 0"),
        (["--max-request-rate", "0"], "42918", "`requests.maxRate` of 0 a second"),
    ] {
        let server = Server::start_with(&options);
        let arguments = match options[0] {
            "--max-request-rate" => &["publish", "a", "x", "--rest"][..],
            _ => &["publish", "a", "x"][..],
        };
        let output = server.run(arguments.iter().copied());
        assert_ne!(output.status.code(), Some(0), "{options:?}");
        let said = stderr(&output);
        assert!(said.contains(code) && said.contains(limit), "{options:?}: {said}");
    }
    // A server that keeps only the newest message still answers.
    let server = Server::start_with(&["--max-log-bytes", "0", "--max-inbound-rate", "100"]);
    succeeded(server.run(["publish", "a", "x"]));
}
