use std::io::{BufRead, BufReader};

use crate::support::{
    Server, Subscriber, capably, finish, interrupt, run, stderr, stdout, succeeded,
};

#[test]
fn a_server_says_where_it_is_and_stops_on_ctrl_c() {
    let server = Server::start();
    assert_eq!(server.endpoint, "127.0.0.1");
    let output = server.stop();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "Stopping: clients are told to reconnect.\n");
    assert_eq!(stdout(&output), "", "nothing beside the first line");
}

#[test]
fn people_are_told_what_to_type() {
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
    let export =
        format!("  export CAPABLY_ENDPOINT=127.0.0.1 CAPABLY_PORT={port} CAPABLY_KEY={key}");
    assert!(lines.contains(&export), "{lines:?}");
}

#[test]
fn a_taken_port_is_an_error_with_a_remedy() {
    let server = Server::start();
    let output = run(["serve", "--port", &server.port.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        format!(
            "error: port {} on 127.0.0.1 is in use\n  remedy: stop what uses it, or choose another: \
             0 takes a free one\n",
            server.port
        )
    );
}

#[test]
fn a_key_that_is_no_key_is_an_error() {
    for (key, why) in [
        ("nonsense", "error: an API key has the form `appId.keyId:secret`\n"),
        ("app.key:secret", "error: the app id of a key, its part before the first dot, has six "),
    ] {
        let output = run(["serve", "--port", "0", "--key", key]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).starts_with(why), "{}", stderr(&output));
        assert!(stderr(&output).contains("\n  remedy: give a key such as "));
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
