//! The commands that read and change data over REST, in both formats.

use serde_json::{Value, json};

use crate::{
    examples::serial,
    support::{Server, finish, run, stderr, stdout, succeeded},
};

const FORMATS: [&str; 2] = ["json", "msgpack"];

/// A name, data and a client id that try to control a terminal.
const HOSTILE: &str = "a\x1b[2J\u{9b}31m\u{202e}\nforged";

/// A server whose key belongs to an app with a mutable and a push-enabled namespace.
pub(crate) fn server() -> Server {
    let mut server = Server::start();
    let create = ["apps", "create", "--json", "--revocable-tokens"];
    let namespaces = ["--namespace", "mutable=mutable", "--namespace", "push=push"];
    let app = json_of(&succeeded(server.run(create.into_iter().chain(namespaces))));
    server.key = app["keys"][0]["keyStr"].as_str().unwrap().to_owned();
    server
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(json_of).collect()
}

#[test]
fn history_has_pages_an_order_and_a_period() {
    let server = server();
    for format in FORMATS {
        let channel = format!("log:{format}");
        succeeded(server.run(["publish", &channel, "n", "{i}", "--count", "1203"]));
        let history = |options: &[&str]| {
            let words = ["history", &channel, "--json", "--format", format];
            server.run(words.into_iter().chain(options.iter().copied()))
        };
        let data = |text: &str| -> Vec<String> {
            lines(text).iter().map(|it| it["data"].as_str().unwrap().to_owned()).collect()
        };
        let few = history(&["--limit", "2"]);
        assert_eq!(data(stdout(&few)), ["1203", "1202"]);
        assert_eq!(stderr(&few), "There are more: use --limit or --all\n");
        assert_eq!(data(&succeeded(history(&["--limit", "2", "--order", "oldest"]))), ["1", "2"]);
        assert_eq!(data(&succeeded(history(&["--limit", "1100"]))).len(), 1_100);
        let all = history(&["--all", "--order", "oldest"]);
        assert_eq!(stderr(&all), "", "stderr is no terminal: there is no progress line");
        assert_eq!(data(&succeeded(all)), (1..=1203).map(|n| n.to_string()).collect::<Vec<_>>());
        let first = json_of(&succeeded(history(&["--limit", "1", "--order", "oldest"])));
        let time = first["timestamp"].as_i64().unwrap();
        let before = (time - 1).to_string();
        assert_eq!(succeeded(history(&["--end", &before])), "");
        assert_eq!(succeeded(history(&["--start", "2020-01-01", "--end", "2020-01-02"])), "");
        let since = history(&["--start", &time.to_string(), "--end", "now", "--limit", "1"]);
        assert_eq!(data(&succeeded(since)), ["1203"]);
        assert_eq!(data(&succeeded(history(&["--start", "1h ago", "--limit", "1"]))), ["1203"]);
    }
}

#[test]
fn messages_are_changed_and_their_versions_listed() {
    let server = server();
    for format in FORMATS {
        let channel = format!("mutable:{format}");
        let serial = serial(&server, &channel);
        let messages = |words: &[&str]| {
            let all = ["messages", words[0], &channel, &serial].into_iter();
            let all = all.chain(words[1..].iter().copied()).chain(["--format", format]);
            succeeded(server.run(all))
        };
        assert!(
            messages(&["update", "Tea at five", "--description", "time"]).starts_with("Updated ")
        );
        messages(&["append", ", in the garden"]);
        let latest = json_of(&messages(&["get", "--json"]));
        assert_eq!(latest["data"], "Tea at five, in the garden");
        assert_eq!((&latest["name"], &latest["serial"]), (&json!("note"), &json!(serial)));
        assert_ne!(latest["version"]["serial"], latest["serial"]);
        messages(&["update", "--name", "tea"]);
        messages(&["update", r#"{"hour":17}"#, "--data-json"]);
        let versions = lines(&messages(&["versions", "--json"]));
        let data: Vec<_> = versions.iter().map(|it| json!([it["name"], it["data"]])).collect();
        assert_eq!(
            data,
            [
                json!(["note", "Tea"]),
                json!(["note", "Tea at five"]),
                json!(["note", "Tea at five, in the garden"]),
                json!(["tea", "Tea at five, in the garden"]),
                json!(["tea", {"hour": 17}]),
            ]
        );
        assert_eq!(versions[1]["version"]["description"], "time");
        messages(&["delete", "--client-id", "bob"]);
        let shown = messages(&["get"]);
        assert!(shown.contains("state       deleted\n"), "{shown}");
        assert!(
            shown.contains(
                "changed by  bob
"
            ),
            "{shown}"
        );
        let history = succeeded(server.run(["history", &channel]));
        assert!(history.ends_with(" (deleted)\n"), "{history}");
    }
}

#[test]
fn annotations_are_published_summarised_and_removed() {
    let server = server();
    for format in FORMATS {
        let channel = format!("mutable:{format}");
        let serial = serial(&server, &channel);
        let annotate = |action: &str, words: &[&str]| {
            let all = ["annotations", action, &channel, &serial].into_iter();
            succeeded(server.run(all.chain(words.iter().copied()).chain(["--format", format])))
        };
        let like = ["reaction:distinct.v1", "👍", "--client-id", "ada"];
        annotate("publish", &like);
        annotate("publish", &["votes:multiple.v1", "tea", "--count", "2", "--data", "yes"]);
        annotate("delete", &like);
        let found = lines(&annotate("get", &["--json"]));
        let chosen: Vec<_> = found
            .iter()
            .map(|it| json!([it["action"], it["type"], it["name"], it["count"], it["data"]]))
            .collect();
        assert_eq!(
            chosen,
            [
                json!([0, "reaction:distinct.v1", "👍", null, null]),
                json!([0, "votes:multiple.v1", "tea", 2, "yes"]),
                json!([1, "reaction:distinct.v1", "👍", null, null]),
            ]
        );
        let message = ["messages", "get", &channel, &serial, "--json", "--format", format];
        let message = json_of(&succeeded(server.run(message)));
        let summary = &message["annotations"]["summary"];
        assert_eq!(summary["votes:multiple.v1"]["tea"]["total"], 2, "{message}");
        let text = annotate("get", &[]);
        assert!(
            text.contains(&format!("ada annotates {serial}: reaction:distinct.v1 👍\n")),
            "{text}"
        );
        assert!(text.contains("votes:multiple.v1 tea × 2: yes\n"), "{text}");
    }
}

#[test]
fn channels_are_listed_with_their_occupancy() {
    let server = server();
    for format in FORMATS {
        let prefix = format!("room-{format}:");
        let names: Vec<_> = (0..3).map(|n| format!("{prefix}{n}")).collect();
        for name in &names {
            succeeded(server.run(["publish", name, "x"]));
        }
        let list = |options: &[&str]| {
            let words = ["channels", "list", "--format", format, "--prefix", &prefix];
            succeeded(server.run(words.into_iter().chain(options.iter().copied())))
        };
        let listed = lines(&list(&["--json"]));
        let listed: Vec<_> = listed.iter().map(|it| it["channelId"].as_str().unwrap()).collect();
        assert_eq!(listed, names);
        assert_eq!(lines(&list(&["--json", "--limit", "2"])).len(), 2);
        let table = list(&[]);
        assert!(table.starts_with("channel "), "{table}");
        assert_eq!(table.lines().count(), 4, "{table}");
        let show = |words: [&str; 2]| {
            let words = ["channels", words[0], &names[0], words[1], "--format", format];
            succeeded(server.run(words.into_iter().filter(|word| !word.is_empty())))
        };
        let status = json_of(&show(["status", "--json"]));
        assert_eq!(
            (&status["channelId"], &status["status"]["isActive"]),
            (&json!(names[0]), &json!(true))
        );
        assert!(show(["status", ""]).contains("active                yes\n"));
        let occupancy = json_of(&show(["occupancy", "--json"]));
        assert_eq!(
            (&occupancy["channel"], &occupancy["subscribers"]),
            (&json!(names[0]), &json!(0))
        );
        assert!(show(["occupancy", ""]).starts_with("connections           0\n"));
    }
}

#[test]
fn tokens_are_issued_inspected_used_and_revoked() {
    let server = server();
    for format in FORMATS {
        let rights = r#"{"news":["subscribe"]}"#;
        let issue = ["token", "issue", "--ttl", "15m", "--client-id", "*", "--capability", rights];
        let issue = issue.into_iter().chain(["--format", format]);
        let issued = json_of(&succeeded(server.run(issue.clone().chain(["--json"]))));
        assert_eq!((&issued["clientId"], &issued["capability"]), (&json!("*"), &json!(rights)));
        let life = issued["expires"].as_i64().unwrap() - issued["issued"].as_i64().unwrap();
        assert_eq!(life, 15 * 60 * 1_000);
        let output = server.run(issue);
        assert_eq!(stdout(&output).lines().count(), 1, "only the token is on stdout");
        assert!(stderr(&output).contains(&format!("Capability {rights}\n")));
        let inspect = ["token", "inspect", &issued.to_string(), "--json"];
        let inspected = json_of(&succeeded(run(inspect)));
        assert_eq!((&inspected["state"], &inspected["clientId"]), (&json!("valid"), &json!("*")));
        assert_eq!(inspected.get("token"), None);

        let revoke = ["token", "revoke", "clientId:ada", "channel:a:b", "--json"];
        let revoked = lines(&succeeded(server.run(revoke.into_iter().chain(["--format", format]))));
        let targets: Vec<_> = revoked.iter().map(|it| it["target"].as_str().unwrap()).collect();
        assert_eq!(targets, ["clientId:ada", "channel:a:b"]);
    }
}

#[test]
fn a_signed_jwt_is_accepted_by_the_server() {
    let server = server();
    let jwt =
        ["jwt", "--ttl", "24h", "--client-id", "ada", "--claim", "ably.channel.c=admin", "--json"];
    let signed = json_of(&succeeded(server.run(jwt)));
    let token = signed["token"].as_str().unwrap();
    let claims = &signed["claims"];
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 86_400);
    assert_eq!(claims["ably.channel.c"], "admin");
    let inspect = |key: &str| {
        let output = server.run(["token", "inspect", token, "--json", "--key", key]);
        json_of(&succeeded(output))["signature"].clone()
    };
    assert_eq!(inspect(&server.key), "valid");
    assert_eq!(inspect(&server.wrong_key()), "wrong");
    assert_eq!(inspect("other.key:x"), "not checked");
    let path = format!("/channels/c/messages?access_token={token}");
    let read = server.run(["request", "GET", &path]);
    assert_eq!(read.status.code(), Some(0), "{}", stderr(&read));
}

#[test]
fn the_key_is_described_without_its_secret() {
    let server = server();
    let (name, secret) = server.key.split_once(':').unwrap();
    for format in FORMATS {
        let described = json_of(&succeeded(server.run(["keys", "--json", "--format", format])));
        assert_eq!(
            (&described["keyName"], &described["capability"]),
            (&json!(name), &json!({"*": ["*"]}))
        );
        let text = succeeded(server.run(["keys", "--format", format]));
        assert!(text.contains(name) && text.contains(r#"{"*":["*"]}"#), "{text}");
        assert!(!text.contains(secret));
    }
    let offline = succeeded(run(["keys", "--offline", "--key", "app.key:secret"]));
    assert_eq!(offline, "key  app.key\napp  app\n");
    let wrong = server.run(["keys", "--key", &server.wrong_key()]);
    assert_eq!(wrong.status.code(), Some(4), "{}", stderr(&wrong));
}

#[test]
fn apps_are_created_with_rules_and_deleted() {
    let server = Server::start_with(&["--provision-secret", "s3cret"]);
    for format in FORMATS {
        let create =
            ["apps", "create", "--json", "--format", format, "--namespace", "n=mutable,push"];
        let refused = server.run(create);
        assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
        let rights = ["--capability", r#"{"*":["*"]}"#, "--capability", r#"{"a":["publish"]}"#];
        let create = create.into_iter().chain(["--provision-secret", "s3cret"]).chain(rights);
        let app = json_of(&succeeded(server.run(create)));
        assert_eq!(
            app["namespaces"],
            json!([{"id": "n", "mutableMessages": true, "pushEnabled": true}])
        );
        let id = app["appId"].as_str().unwrap();
        let key = |n: usize| app["keys"][n]["keyStr"].as_str().unwrap();
        let publish = ["publish", "a", "x", "--rest", "--key"];
        succeeded(server.run(publish.into_iter().chain([key(1)])));
        let delete = ["apps", "delete", id, "--format", format, "--key"];
        let denied = server.run(delete.into_iter().chain([key(1)]));
        assert_eq!(denied.status.code(), Some(4), "{}", stderr(&denied));
        let deleted = succeeded(server.run(delete.into_iter().chain([key(0)])));
        assert_eq!(deleted, format!("Deleted app {id}\n"));
        let gone = server.run(publish.into_iter().chain([key(1)]));
        assert_ne!(gone.status.code(), Some(0));
    }
    let nowhere = run(["apps", "create"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(stderr(&nowhere).starts_with("error: the server is missing\n"));
}

#[test]
fn statistics_are_charted() {
    let server = server();
    let fixtures = r#"[{"intervalId":"2024-02-03:15:03","inbound":{"realtime":{"messages":{"count":50,"data":5}}}},
        {"intervalId":"2024-02-03:15:04","inbound":{"realtime":{"messages":{"count":100,"data":9}}}}]"#;
    succeeded(server.run(["request", "POST", "/stats", "-d", fixtures]));
    for format in FORMATS {
        let stats = |options: &[&str]| {
            let words =
                ["stats", "--start", "2024-02-03", "--end", "2024-02-04", "--format", format];
            server.run(words.into_iter().chain(options.iter().copied()))
        };
        let intervals = lines(&succeeded(stats(&["--json"])));
        let ids: Vec<_> = intervals.iter().map(|it| it["intervalId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["2024-02-03:15:04", "2024-02-03:15:03"]);
        let metric = "messages.inbound.realtime.messages.count";
        let chart = succeeded(stats(&["--metric", metric]));
        let [full, half] = ["█".repeat(57), format!("{}▌", "█".repeat(28))];
        assert_eq!(
            chart,
            format!("{metric}\n2024-02-03:15:03   50  {half}\n2024-02-03:15:04  100  {full}\n")
        );
        let unknown = stats(&["--metric", "nothing"]);
        assert!(stderr(&unknown).contains(metric), "{}", stderr(&unknown));
        let none = server.run(["stats", "--start", "2020-01-01", "--end", "2020-01-02"]);
        assert_eq!((stdout(&none), stderr(&none)), ("", "There are no statistics of this time\n"));
    }
}

#[test]
fn devices_and_push_subscriptions_are_administered() {
    let server = server();
    let directory = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let push = |words: &[&str]| {
            let words = ["push"].into_iter().chain(words.iter().copied());
            server.run(words.chain(["--format", format]))
        };
        let key = &server.key;
        let device = json!({
            "id": "phone", "clientId": "ada", "platform": "ios", "formFactor": "watch",
            "push": {"recipient": {"transportType": "ablyChannel", "channel": "inbox", "ablyKey": key}},
        });
        let file = directory.path().join("device.json");
        std::fs::write(&file, device.to_string()).unwrap();
        let saved = push(&["devices", "save", "--file", file.to_str().unwrap()]);
        assert_eq!(succeeded(saved), "Saved device phone\n");
        let table = succeeded(push(&["devices", "list", "--client", "ada"]));
        let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[..4], ["phone", "ada", "ios", "watch"]);
        assert!(succeeded(push(&["devices", "get", "phone"])).contains("platform  ios\n"));
        let inbox = || {
            let history = ["history", "inbox", "--json", "--limit", "1"];
            json_of(&succeeded(server.run(history)))["data"].clone()
        };
        let publish =
            ["publish", "--client", "ada", "--title", format, "--payload", r#"{"data":{"n":1}}"#];
        assert_eq!(succeeded(push(&publish)), "Pushed to ada\n");
        let pushed = json_of(inbox().as_str().unwrap());
        assert_eq!(pushed["notification"]["title"], format);
        assert_eq!(pushed["data"]["n"], 1);

        let subscription = ["push:news", "--client", "ada"];
        let change = |action: &str| push(&[&["subscriptions", action], &subscription[..]].concat());
        succeeded(change("save"));
        let listed = lines(&succeeded(push(&["subscriptions", "list", "--json"])));
        assert_eq!(listed, [json!({"channel": "push:news", "clientId": "ada"})]);
        assert_eq!(succeeded(push(&["subscriptions", "channels"])), "push:news\n");
        succeeded(change("remove"));
        assert_eq!(succeeded(push(&["subscriptions", "list"])), "");
        succeeded(push(&["devices", "remove", "phone"]));
        assert_eq!(succeeded(push(&["devices", "list"])), "");
        let gone = push(&["devices", "get", "phone"]);
        assert_eq!(gone.status.code(), Some(1));
        assert!(stderr(&gone).contains("\n  code: 40400 "), "{}", stderr(&gone));
    }
}

#[test]
fn batches_report_each_channel() {
    let server = server();
    let directory = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let (a, b) = (format!("a:{format}"), format!("b:{format}"));
        let publish = |words: &[&str]| {
            let words =
                ["batch", "publish", "--format", format].into_iter().chain(words.iter().copied());
            server.run(words)
        };
        let both = publish(&["-c", &a, "-c", &b, "n", r#"{"x":1}"#, "--data-json"]);
        assert_eq!(succeeded(both), "Published to 2 channels\n");
        for channel in [&a, &b] {
            let found = json_of(&succeeded(server.run(["history", channel, "--json"])));
            assert_eq!((&found["name"], &found["data"]), (&json!("n"), &json!({"x": 1})));
        }
        let partly = publish(&["-c", &a, "-c", ":bad", "x", "--json"]);
        assert_eq!(partly.status.code(), Some(1), "{}", stderr(&partly));
        let results = lines(stdout(&partly));
        assert!(results[0]["serials"][0].is_string() && results[0]["channel"] == *a, "{results:?}");
        assert_eq!(results[1]["error"]["code"], 40010);
        let file = directory.path().join("specs");
        let line = json!({"channels": [a], "messages": [{"data": "y"}, {"data": "z"}]}).to_string();
        std::fs::write(&file, format!("{line}\n").repeat(120)).unwrap();
        let many = publish(&["--specs", file.to_str().unwrap()]);
        assert_eq!(succeeded(many), "Published to 120 channels\n");
        let all = succeeded(server.run(["history", &a, "--all", "--json"]));
        assert_eq!(all.lines().count(), 242);
        std::fs::write(&file, format!("{line}\n{{}}\n")).unwrap();
        let wrong = publish(&["--specs", file.to_str().unwrap()]);
        assert_eq!(wrong.status.code(), Some(2));
        assert!(stderr(&wrong).starts_with("error: line 2: "), "{}", stderr(&wrong));
        let members = server.run(["batch", "presence", &a, &b, "--json", "--format", format]);
        assert_eq!(succeeded(members), "");
    }
}

#[test]
fn any_request_is_sent_and_its_refusal_is_an_error() {
    let server = server();
    for format in FORMATS {
        let request = |words: &[&str]| {
            let words = ["request"].into_iter().chain(words.iter().copied());
            server.run(words.chain(["--format", format]))
        };
        let path = format!("/channels/r-{format}/messages");
        let sent = request(&["post", &path, "-d", r#"{"name":"n","data":"hello"}"#, "--json"]);
        let sent = json_of(&succeeded(sent));
        assert_eq!(sent["status"], 201);
        assert!(sent["headers"]["content-type"].is_string(), "{sent}");
        let read = request(&["GET", &path, "--param", "limit=1", "-H", "X-Trace: 1"]);
        assert_eq!(stderr(&read), "Status 200\n");
        assert_eq!(json_of(stdout(&read))["data"], "hello");
        let missing = request(&["GET", "/nothing"]);
        assert_eq!(missing.status.code(), Some(1));
        assert!(stderr(&missing).starts_with("Status 404\nerror: "), "{}", stderr(&missing));
        assert!(stderr(&missing).contains("\n  code: 40400 "));
        let refused = request(&["GET", &path, "--key", &server.wrong_key()]);
        assert_eq!(refused.status.code(), Some(4));
        let time = json_of(&succeeded(server.run(["time", "--json", "--format", format])));
        assert!(time["time"].as_i64().unwrap() > 1_600_000_000_000 && time["offset"].is_i64());
    }
}

#[test]
fn foreign_text_does_not_control_the_terminal() {
    let server = server();
    let channel = format!("mutable:{HOSTILE}").replace('\n', "");
    let publish = |channel: &str| {
        let publish = ["publish", channel, HOSTILE, HOSTILE, "--client-id", HOSTILE, "--rest"];
        let said = succeeded(server.run(publish));
        said.trim().rsplit_once("serial ").unwrap().1.to_owned()
    };
    publish(&channel);
    let serial = publish("mutable:c");
    let annotate = ["annotations", "publish", "mutable:c", &serial, "r:distinct.v1", HOSTILE];
    succeeded(server.run(annotate.into_iter().chain(["--client-id", HOSTILE, "--data", HOSTILE])));
    let update = ["messages", "update", "mutable:c", &serial, HOSTILE, "--description", HOSTILE];
    succeeded(server.run(update));
    for words in [
        &["history", "mutable:c"][..],
        &["channels", "list"],
        &["channels", "status", &channel],
        &["messages", "get", "mutable:c", &serial],
        &["messages", "versions", "mutable:c", &serial],
        &["annotations", "get", "mutable:c", &serial],
        &["request", "GET", "/channels/mutable:c/messages"],
    ] {
        let text = succeeded(server.run(words.iter().copied()));
        assert!(text.contains(r"\u{202e}") || text.contains(r"\u202e"), "{words:?}: {text}");
        let forbidden = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(forbidden), "{words:?}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("forged")), "{words:?}: {text}");
    }
    // Programs get the text as it is.
    let line = succeeded(server.run(["history", "mutable:c", "--json", "--limit", "1"]));
    assert_eq!(json_of(&line)["data"], HOSTILE);
}

#[test]
fn wrong_options_are_refused_before_a_request() {
    let key = ["--key", "app.key:secret"];
    for (words, why) in [
        (&["history", "c", "--start", "soon"][..], "error: invalid value 'soon' for '--start"),
        (&["history", "c", "--limit", "0"], "error: invalid value '0' for '--limit"),
        (
            &["history", "c", "--limit", "5", "--all"],
            "error: the argument '--limit <N>' cannot be used",
        ),
        (
            &["history", "c", "--start", "1h ago", "--end", "2h ago"],
            "error: --start is after --end",
        ),
        (&["messages", "update", "c", "s"], "error: there is nothing to change"),
        (&["messages", "append", "c", "s"], "error: the data is missing"),
        (&["token", "issue", "--ttl", "25h"], "error: invalid value '25h' for '--ttl"),
        (&["token", "issue", "--capability", "x"], "error: invalid value 'x' for '--capability"),
        (&["token", "revoke", "ada"], "error: invalid value 'ada' for '<TARGET>"),
        (&["jwt", "--ttl", "10ms"], "error: a JWT counts whole seconds"),
        (&["apps", "delete", "../x", "--endpoint", "localhost"], "error: the app id has other"),
        (&["push", "publish", "--title", "t"], "error: the following required arguments"),
        (&["push", "publish", "--client", "a"], "error: the following required arguments"),
        (&["batch", "publish", "x"], "error: the following required arguments"),
        (&["request", "FETCH", "/"], "error: invalid value 'FETCH' for '<METHOD>'"),
        (&["request", "POST", "/", "-d", "{"], "error: the body is not JSON"),
        (&["request", "GET", "/", "-H", "x"], "error: invalid value 'x' for '--header"),
    ] {
        let output = run(words.iter().copied().chain(key));
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).starts_with(why), "{words:?}: {}", stderr(&output));
    }
    let output = finish(crate::support::capably(["token", "inspect", "nonsense"]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(!stderr(&output).contains("nonsense"), "a token is a secret: {}", stderr(&output));
}
