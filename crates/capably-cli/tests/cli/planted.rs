//! Five planted faults: from the error of a command, a user gets to the cause in two steps or three.

use serde_json::{Value, json};

use crate::{
    faults::ask,
    support::{Server, run, stderr, stdout, succeeded},
};

const FORMATS: [&str; 2] = ["json", "msgpack"];

/// Step 1: the command fails, and its error has this code and this remedy.
#[track_caller]
fn fails(server: &Server, words: &[&str], exit: i32, code: u32, remedy: &str) {
    let output = server.run(words.iter().copied());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(said.contains(&format!("\n  code: {code} ")), "{said}");
    assert!(said.contains(remedy), "{said}");
    assert!(said.contains(&format!("capably explain {code}")), "{said}");
}

/// Step 2: the page about the code names the cause.
#[track_caller]
fn explains(code: u32, cause: &str) {
    let page = succeeded(run(["explain", &code.to_string()]));
    assert!(page.contains(cause), "{page}");
}

/// Step 3: the doctor finds this failure of this check first.
#[track_caller]
fn finds(server: &Server, words: &[&str], check: &str, message: &str, remedy: &str) {
    let output = server.run(["doctor", "--json"].into_iter().chain(words.iter().copied()));
    let results = stdout(&output).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found = results.into_iter().find(|result| result["result"] == "failed").unwrap();
    assert_eq!(found["check"], check, "{found}");
    assert!(found["message"].as_str().unwrap().contains(message), "{found}");
    assert!(found["remedy"].as_str().unwrap().contains(remedy), "{found}");
}

#[test]
fn a_wrong_secret_of_a_key() {
    let server = Server::start();
    let key = server.wrong_key();
    for format in FORMATS {
        let options = ["--key", &key, "--format", format];
        let publish = ["publish", "news", "hello"];
        fails(&server, &[&publish[..], &options].concat(), 4, 40101, "check the API key");
        finds(&server, &options, "access", "", "check the API key");
    }
    explains(40101, "secret");
}

#[test]
fn a_capability_that_is_missing() {
    let server = Server::start();
    let app = json!({ "keys": [{ "capability": "{\"news\":[\"subscribe\"]}" }] });
    let key = server.create_app(&app)["keys"][0]["keyStr"].as_str().unwrap().to_owned();
    for format in FORMATS {
        let options = ["--key", &key, "--format", format];
        let publish = ["publish", "orders", "hello"];
        fails(&server, &[&publish[..], &options].concat(), 4, 40160, "capability");
        let channel = [&["--channel", "orders"], &options[..]].concat();
        finds(
            &server,
            &channel,
            "capability",
            "the key may do nothing on orders",
            "use another key",
        );
    }
    explains(40160, "capability");
}

#[test]
fn a_token_for_another_client() {
    let server = Server::start();
    let token = succeeded(server.run(["jwt", "--client-id", "ada"]));
    for format in FORMATS {
        let options = ["--key", token.trim(), "--client-id", "bob", "--format", format];
        let publish = ["publish", "news", "hello"];
        fails(&server, &[&publish[..], &options].concat(), 4, 40102, "client id");
        finds(&server, &options, "access", "clientId", "client id");
        let claims = succeeded(server.run(["token", "inspect", token.trim(), "--json"]));
        let claims: Value = serde_json::from_str(&claims).unwrap();
        assert_eq!(claims["claims"]["x-ably-clientId"], "ada");
    }
    explains(40102, "client");
}

/// The other direction, TLS to a port without it, needs a name that is not local: see the tests of the doctor.
#[test]
fn a_port_of_another_protocol() {
    let server = Server::start_with(&["--control", "0"]);
    let control = server.seen_at(server.control.unwrap());
    for format in FORMATS {
        let publish = ["publish", "news", "hello", "--format", format];
        let output = control.run(publish);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains("\n  code: 80000 "), "{}", stderr(&output));
        finds(&control, &["--format", format], "service", "GET /time of", "--port");
    }
    explains(80000, "port");
}

#[test]
fn a_rule_that_drops_acknowledgements() {
    let server = Server::start_with(&["--control", "0"]);
    let rule = json!({
        "match": { "type": "ws_frame_to_client", "action": "ACK" },
        "action": { "type": "suppress" },
    });
    ask(&server, "POST", "/rules", &rule.to_string());
    for format in FORMATS {
        let publish = ["publish", "news", "hello", "--timeout", "0.5", "--format", format];
        let output = server.run(publish);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert!(said.starts_with("error: the service acknowledges nothing for "), "{said}");
        assert!(said.contains("`capably doctor` finds"), "{said}");
    }
    finds(&server, &[], "message", "arrived, but was not acknowledged", "drops frames");
}
