use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
};

use crate::support::{ClosedPort, Server, Subscriber, capably, finish, interrupt, run, stderr};

/// Every client command, over each of its transports.
const CLIENTS: [&[&str]; 5] = [
    &["publish", "c", "d"],
    &["publish", "c", "d", "--format", "json"],
    &["publish", "c", "d", "--rest"],
    &["subscribe", "c"],
    &["subscribe", "c", "--json", "--format", "json"],
];

#[test]
fn a_wrong_secret_is_refused_with_its_code() {
    let server = Server::start();
    for arguments in CLIENTS {
        let key = ["--key", &server.wrong_key()];
        let output = server.run(arguments.iter().copied().chain(key));
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(said.starts_with("error: "), "{said}");
        assert!(said.contains("\n  code: 40101 (Authentication failed)\n"), "{said}");
        assert!(said.contains("\n  remedy: check the API key"), "{said}");
        assert!(!said.contains("not-the-secret"), "{said}");
    }
}

#[test]
fn a_port_without_a_listener_is_reported_as_unreachable() {
    let closed = ClosedPort::new();
    let port = closed.number();
    for arguments in CLIENTS {
        let service = ["--endpoint", "127.0.0.1", "--port", &port, "--key", "app.key:secret"];
        let output = run(arguments.iter().copied().chain(service));
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("\n  code: 80000 "), "{}", stderr(&output));
        assert!(stderr(&output).contains("\n  remedy: check that the host and port are right"));
    }
}

#[test]
fn the_error_of_a_missing_key_names_the_option_and_the_variable() {
    for arguments in CLIENTS {
        let output = run(arguments.iter().copied());
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(
            stderr(&output),
            "error: an API key is missing\n  remedy: use --key, or set CAPABLY_KEY or ABLY_API_KEY\n"
        );
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let server = Server::start();
    for empty in ["", " "] {
        let mut command = capably(["publish", "c", "d"]);
        for name in ["CAPABLY_KEY", "ABLY_API_KEY", "CAPABLY_ENDPOINT", "CAPABLY_PORT"] {
            command.env(name, empty);
        }
        let output = finish(command.spawn().unwrap());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(
            stderr(&output).starts_with("error: an API key is missing\n"),
            "{}",
            stderr(&output)
        );

        let mut command = server.client(["publish", "c", "d"]);
        command.env("CAPABLY_KEY", empty).env("ABLY_API_KEY", &server.key);
        let output = finish(command.spawn().unwrap());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));

        let mut command = capably(["bench", "--count", "1", "--samples", "1", "--json"]);
        command.env("CAPABLY_KEY", empty).env("CAPABLY_ENDPOINT", empty);
        let output = finish(command.env("CAPABLY_PORT", empty).spawn().unwrap());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn a_malformed_connection_option_is_a_usage_error() {
    for (option, why) in [
        (&["--endpoint", "https://a.example.com"][..], "option `endpoint`: "),
        (&["--endpoint", "localhost:8080"], "option `endpoint`: "),
        (&["--endpoint", "[::1]:8080"], "option `endpoint`: "),
        (&["--endpoint", "a b"], "option `endpoint`: "),
        (&["--port", "0"], "option `tls_port`: "),
        (&["--port=-1"], "invalid value '-1' for '--port"),
        (&["--port", "65536"], "invalid value '65536' for '--port"),
        (&["--key", "no-dot:secret"], "option `key`: "),
        (&["--client-id", "*"], "option `client_id`: "),
        (&["--client-id", ""], "option `client_id`: "),
        (&["--no-tls"], "option `tls`: "),
        (&["--format", "xml"], "invalid value 'xml' for '--format"),
    ] {
        for client in [
            &["publish", "c", "d"][..],
            &["publish", "c", "d", "--rest"],
            &["subscribe", "c"],
            &["presence", "c"],
            &["objects", "get", "c"],
            &["objects", "watch", "c"],
        ] {
            let key =
                if option.contains(&"--key") { &[][..] } else { &["--key", "app.key:secret"] };
            let arguments = client.iter().chain(option).chain(key).copied();
            let output = run(arguments);
            assert_eq!(output.status.code(), Some(2), "{option:?}: {}", stderr(&output));
            assert!(stderr(&output).starts_with(&format!("error: {why}")), "{}", stderr(&output));
        }
    }
}

#[test]
fn the_key_is_read_from_either_variable() {
    let server = Server::start();
    let mut command = server.client(["publish", "c", "d"]);
    command.env_remove("CAPABLY_KEY").env("ABLY_API_KEY", &server.key);
    let output = finish(command.spawn().unwrap());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn the_log_contains_no_secret() {
    let server = Server::start();
    let (_, secret) = server.key.split_once(':').unwrap();
    for arguments in [&["publish", "c", "d"][..], &["publish", "c", "d", "--rest"]] {
        let mut command = server.client(arguments.iter().copied());
        let output = finish(command.arg("-v").env("RUST_LOG", "trace").spawn().unwrap());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(!stderr(&output).is_empty(), "--verbose says something");
        assert!(!stderr(&output).contains(secret));
    }
}

#[test]
fn usage_errors_have_exit_code_2() {
    for (arguments, why) in [
        (&["publish", "c"][..], "error: the data is missing\n"),
        (&["publish", "c", "n", "d", "--file", "x"], "error: the data is given twice\n"),
        (&["publish", "c", "7", "--data-json"], "error: JSON data must be an object or an array\n"),
        (&["publish", "c", "*", "--binary"], "error: the data is not base64: "),
        (&["publish", "c", "d", "--count", "0"], "error: invalid value '0' for '--count <N>'"),
        (
            &["publish", "c", "d", "--data-json", "--binary"],
            "error: the argument '--data-json' cannot be used",
        ),
        (&["subscribe", "c", "--timeout", "soon"], "error: invalid value 'soon' for '--timeout"),
        (&["subscribe"], "error: the following required arguments were not provided:\n  <CHANNEL>"),
        (&["shout"], "error: unrecognized subcommand 'shout'"),
    ] {
        let output = run(arguments.iter().copied());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).starts_with(why), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_missing_file_is_an_error() {
    let output = run(["publish", "c", "--file", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot read /no/such/file: "));
}

#[test]
fn messages_that_do_not_arrive_in_time_are_an_error() {
    let server = Server::start();
    let output = server.run(["subscribe", "silence", "--count", "2", "--timeout", "0.5"]);
    assert_eq!(output.status.code(), Some(5));
    let last = stderr(&output).lines().last();
    assert_eq!(last, Some("error: only 0 of 2 messages arrived in time"));
}

#[test]
fn ctrl_c_before_all_messages_is_an_error() {
    let server = Server::start();
    let subscriber = Subscriber::start(&server, "silence", &["--count", "1"]);
    interrupt(&subscriber.child);
    let output = subscriber.finish();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: only 0 of 1 messages arrived before the interrupt\n");
}

#[test]
fn a_service_that_does_not_speak_http_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // Unread bytes would make the system reset the connection.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"220 mail.example.com\r\n");
        }
    });
    for arguments in CLIENTS {
        let service = ["--endpoint", "localhost", "--port", &port, "--key", "app.key:secret"];
        let output = run(arguments.iter().copied().chain(service));
        let (exit, code) = if arguments.contains(&"--rest") {
            (1, "\n  code: 40013 ")
        } else {
            (3, "\n  code: 80000 ")
        };
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(code), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://ada:s3cr3t@{}", listener.local_addr().unwrap());
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let head = stream.by_ref().lines().map_while(Result::ok);
            let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
            let _ = sender.send(head);
            let _ = stream.get_mut().write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n");
        }
    });
    for arguments in CLIENTS {
        let service = ["--endpoint", "service.example.test", "--key", "app.key:secret"];
        let mut command = capably(arguments.iter().copied().chain(service));
        let output = finish(command.env("HTTPS_PROXY", &proxy).spawn().unwrap());
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains("\n  code: 80000 ") && said.contains("tunnel"), "{said}");
        assert!(!said.contains("s3cr3t"), "{said}");
        let head = asked.recv().unwrap();
        assert_eq!(head[0], "CONNECT service.example.test:443 HTTP/1.1");
        let credentials = "Proxy-Authorization: Basic YWRhOnMzY3IzdA==".to_owned();
        assert!(head.contains(&credentials), "{head:?}");
    }
}
