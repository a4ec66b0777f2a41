use std::{
    io::{BufRead, BufReader},
    process::Child,
};

use serde_json::{Value, json};

use crate::support::{Server, finish, interrupt, succeeded};

/// A running `capably presence` that has printed this on stderr.
fn start(server: &Server, arguments: &[&str], notice: &str) -> Child {
    let arguments = ["presence"].into_iter().chain(arguments.iter().copied());
    let mut child = server.client(arguments).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, format!("{notice}\n"));
    child
}

#[test]
fn members_enter_appear_and_leave() {
    let server = Server::start();
    for format in ["json", "msgpack"] {
        let channel = format!("room:{format}");
        let watch = [&channel, "--watch", "--json", "--format", format];
        let mut watcher = start(&server, &watch, &format!("Watching {channel}"));
        let enter =
            [&channel, "--enter", "ada", "--enter", "bob", "--data", "here", "--format", format];
        let members = start(&server, &enter, &format!("Present on {channel}"));

        let listed = succeeded(server.run(["presence", &channel]));
        assert_eq!(listed, "ada is present: here\nbob is present: here\n");

        interrupt(&members);
        succeeded(finish(members));
        assert_eq!(succeeded(server.run(["presence", &channel, "--json"])), "");
        let lines = BufReader::new(watcher.stdout.take().unwrap()).lines().take(4);
        let events: Vec<Value> =
            lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        interrupt(&watcher);
        finish(watcher);
        let chosen: Vec<_> =
            events.iter().map(|it| json!([it["action"], it["clientId"], it["data"]])).collect();
        assert_eq!(
            chosen,
            [
                json!([2, "ada", "here"]),
                json!([2, "bob", "here"]),
                json!([3, "ada", "here"]),
                json!([3, "bob", "here"]),
            ]
        );
        assert!(
            events.iter().all(|it| it["channel"] == *channel && it["connectionId"].is_string())
        );
    }
}
