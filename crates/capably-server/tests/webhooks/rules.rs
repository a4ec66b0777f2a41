//! Rules over REST.

use capably_server::engine::Mesh;

use super::{
    support::{app, refusal},
    *,
};

fn rule(url: &str) -> Value {
    json!({
        "ruleType": "http",
        "requestMode": "single",
        "source": {"channelFilter": "^a", "type": "channel.message"},
        "target": {"url": url, "format": "json"},
    })
}

#[tokio::test]
async fn a_rule_is_created_listed_read_and_deleted() {
    for format in FORMATS {
        let mut endpoint = Endpoint::new().await;
        let server = start([]).await;
        let ask = async |method: &str, rest: &str, body: &Value| {
            ask(&server, server.key(), format, method, &rule_path(&server, rest), body).await
        };
        let (answer, created) = ask("POST", "", &rule(&endpoint.url())).await;
        assert_eq!(answer.status, 201);
        assert_eq!(created["appId"], server.key().split('.').next().unwrap());
        assert_eq!((&created["status"], &created["version"]), (&json!("enabled"), &json!("1.2")));
        assert_eq!(created["source"], json!({"channelFilter": "^a", "type": "channel.message"}));
        assert!(created["created"].as_u64().unwrap() > 0);
        let id = created["id"].as_str().unwrap();
        assert_eq!(ask("GET", "", &Value::Null).await.1, json!([created]));
        assert_eq!(ask("GET", &format!("/{id}"), &Value::Null).await.1, created);
        publish(&server, "abc", ["x".to_owned()]).await;
        let received = endpoint.next().await.value();
        assert_eq!(received["ruleId"], id);
        let (answer, _) = ask("DELETE", &format!("/{id}"), &Value::Null).await;
        assert_eq!(answer.status, 204);
        for method in ["GET", "DELETE"] {
            let gone = ask(method, &format!("/{id}"), &Value::Null).await;
            assert_eq!(refusal(&gone), (404, 40400));
        }
        assert_eq!(ask("GET", "", &Value::Null).await.1, json!([]));
        publish(&server, "abc", ["y".to_owned()]).await;
        let (_, other) = ask("POST", "", &rule(&endpoint.url())).await;
        publish(&server, "abc", ["z".to_owned()]).await;
        let received = endpoint.next().await;
        assert_eq!(
            (received.data(), &received.value()["ruleId"]),
            (vec!["z".to_owned()], &other["id"])
        );
        server.shutdown().await;
    }
}

/// Publishes messages together.
async fn publish_together(server: &Server, channel: &str, data: &[&str]) {
    let target = format!("/channels/{channel}/messages");
    let messages: Vec<_> = data.iter().map(|data| json!({"data": data})).collect();
    assert_eq!(request(server, "POST", &target, &json!(messages)).await.status, 201);
}

#[tokio::test]
async fn a_rule_is_updated_and_what_waits_is_sent_as_it_says_now() {
    for format in FORMATS {
        let mut failing = Endpoint::with(|_, _| endpoint::Reaction::Status(500)).await;
        let mut working = Endpoint::new().await;
        // A repetition would come long after the update.
        let server = builder().webhook_retry_unit(Duration::from_secs(60)).start().await.unwrap();
        let ask = async |method: &str, rest: &str, body: &Value| {
            ask(&server, server.key(), format, method, &rule_path(&server, rest), body).await
        };
        let (_, created) = ask("POST", "", &rule(&failing.url())).await;
        let path = format!("/{}", created["id"].as_str().unwrap());
        publish_together(&server, "ab", &["x", "y"]).await;
        assert_eq!(failing.next().await.data(), ["x"]);
        let to_batch = json!({"requestMode": "batch", "target": {"url": working.url()}});
        let (answer, updated) = ask("PATCH", &path, &to_batch).await;
        assert_eq!(answer.status, 200);
        assert_eq!(working.next().await.data(), ["x", "y"]);
        for field in ["id", "created", "source", "status"] {
            assert_eq!(updated[field], created[field], "{field}");
        }
        assert!(updated["modified"].as_u64() >= created["created"].as_u64());
        assert_eq!(updated["target"]["url"], working.url());
        assert_eq!(updated["target"]["format"], "json", "what the patch does not name stays");

        let to_failing = json!({"target": {"url": failing.url()}});
        assert_eq!(ask("PATCH", &path, &to_failing).await.0.status, 200);
        publish_together(&server, "ab", &["z", "w"]).await;
        assert_eq!(failing.next().await.data(), ["z", "w"]);
        let to_single = json!({"requestMode": "single", "target": {"url": working.url()}});
        assert_eq!(ask("PATCH", &path, &to_single).await.0.status, 200);
        for data in ["z", "w"] {
            assert_eq!(working.next().await.data(), [data]);
        }

        let off = json!({"status": "disabled"});
        assert_eq!(ask("PATCH", &path, &off).await.1["status"], "disabled");
        publish_together(&server, "ab", &["unreported"]).await;
        let on = json!({"status": "enabled", "source": {"channelFilter": "^c"}});
        let (_, updated) = ask("PATCH", &path, &on).await;
        assert_eq!(updated["source"], json!({"channelFilter": "^c", "type": "channel.message"}));
        publish_together(&server, "ab", &["unreported"]).await;
        publish_together(&server, "cd", &["last"]).await;
        assert_eq!(working.next().await.data(), ["last"]);
        assert_eq!(ask("GET", &path, &Value::Null).await.1["delivery"]["waiting"], 0);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn an_update_that_is_not_valid_changes_nothing() {
    let server = start([]).await;
    for format in FORMATS {
        let ask = async |method: &str, rest: &str, body: &Value| {
            ask(&server, server.key(), format, method, &rule_path(&server, rest), body).await
        };
        let (_, created) = ask("POST", "", &rule("http://127.0.0.1:1/")).await;
        let path = format!("/{}", created["id"].as_str().unwrap());
        for (patch, code) in [
            (json!({"id": "other"}), 40000),
            (json!({"ruleType": "amqp"}), 40000),
            (json!({"target": {"url": "http://10.0.0.1/"}}), 40000),
            (json!({"target": null}), 40000),
            (json!({"target": {"signingKeyId": "nokey"}}), 40400),
        ] {
            let refused = ask("PATCH", &path, &patch).await;
            assert_eq!(refused.1["error"]["code"], code, "{patch}");
        }
        assert_eq!(ask("GET", &path, &Value::Null).await.1, created);
        let unknown = ask("PATCH", "/unknown", &json!({"status": "disabled"})).await;
        assert_eq!(refusal(&unknown), (404, 40400));
    }
}

#[tokio::test]
async fn the_nodes_of_a_cluster_have_the_same_rules_and_deliver_each_message_once() {
    let mut endpoint = Endpoint::new().await;
    let mesh = Mesh::new();
    let node = || Server::builder().engine(mesh.node()).start();
    let (first, second) = (node().await.unwrap(), node().await.unwrap());
    let path = rule_path(&first, "");
    let body = rule(&endpoint.url());
    let (answer, created) = ask(&first, first.key(), Format::Json, "POST", &path, &body).await;
    assert_eq!(answer.status, 201);
    let id = created["id"].as_str().unwrap();
    // Both nodes have the channel in memory, so both apply every entry.
    let mut clients = Vec::new();
    for server in [&first, &second] {
        let (mut client, _) = support::Client::connect(server, Format::Json).await;
        client.attach("a").await;
        clients.push(client);
    }
    for number in 0..10 {
        let server = if number % 2 == 0 { &first } else { &second };
        publish(server, "a", [number.to_string()]).await;
        let received = endpoint.next().await;
        assert_eq!(
            (received.data(), &received.value()["ruleId"]),
            (vec![number.to_string()], &json!(id))
        );
    }
    // And a channel that no node has.
    publish(&second, "alone", ["alone".to_owned()]).await;
    assert_eq!(endpoint.next().await.data(), ["alone"]);
    let one = format!("{path}/{id}");
    let patch = json!({"source": {"channelFilter": "^b"}});
    let (answer, updated) = ask(&second, first.key(), Format::Json, "PATCH", &one, &patch).await;
    assert_eq!(answer.status, 200);
    for server in [&first, &second] {
        let read = ask(server, first.key(), Format::Json, "GET", &one, &Value::Null).await.1;
        for field in ["source", "created", "modified"] {
            assert_eq!(read[field], updated[field], "{field}");
        }
    }
    let (answer, _) = ask(&second, first.key(), Format::Json, "DELETE", &one, &Value::Null).await;
    assert_eq!(answer.status, 204);
    for server in [&first, &second] {
        let listed = ask(server, first.key(), Format::Json, "GET", &path, &Value::Null).await;
        assert_eq!(listed.1, json!([]));
    }
    assert_eq!(endpoint.count(), 11);
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn a_rule_that_is_not_valid_is_refused_with_the_reason() {
    let server = start([]).await;
    let url = "http://127.0.0.1:1/";
    for (pointer, value, field) in [
        ("/ruleType", json!("kafka"), "ruleType"),
        ("/source/type", json!("channel.any"), "source.type"),
        ("/source/channelFilter", json!("("), "channelFilter"),
        ("/target/url", json!("gopher://a"), "target.url"),
        ("/target/format", json!("xml"), "target.format"),
        ("/target/headers", json!([{"name": "a", "value": "b\r\nc: d"}]), "target.headers"),
        ("/target/headers", json!([{"name": "Host", "value": "a"}]), "target.headers"),
    ] {
        for format in FORMATS {
            let mut wrong = rule(url);
            wrong["target"]["headers"] = json!([]);
            *wrong.pointer_mut(pointer).unwrap() = value.clone();
            let path = rule_path(&server, "");
            let refused = ask(&server, server.key(), format, "POST", &path, &wrong).await;
            assert_eq!(refusal(&refused), (400, 40000), "{pointer}");
            let message = refused.1["error"]["message"].as_str().unwrap();
            assert!(message.contains(field), "{message}");
        }
    }
    let mut unknown = rule(url);
    unknown["target"]["signingKeyId"] = json!("nokey");
    let path = rule_path(&server, "");
    let refused = ask(&server, server.key(), Format::Json, "POST", &path, &unknown).await;
    assert_eq!(refused.1["error"]["code"], 40400);
}

#[tokio::test]
async fn rules_need_a_key_of_the_app_with_every_right() {
    let server = start([]).await;
    let keys = app(&server, &json!({"keys": [{}, {"capability": {"*": ["publish"]}}]})).await;
    let id = keys[0].split('.').next().unwrap();
    for (method, rest) in [
        ("GET", ""),
        ("POST", ""),
        ("GET", "/x"),
        ("PATCH", "/x"),
        ("DELETE", "/x"),
        ("GET", "/x/deadLetters"),
        ("DELETE", "/x/deadLetters"),
    ] {
        let path = format!("/apps/{id}/rules{rest}");
        let body = match method {
            "POST" | "PATCH" => rule("http://127.0.0.1:1/"),
            _ => Value::Null,
        };
        let weak = ask(&server, &keys[1], Format::Json, method, &path, &body).await;
        assert_eq!(refusal(&weak), (401, 40160), "{method} {rest}");
        let other = ask(&server, server.key(), Format::Json, method, &path, &body).await;
        assert_eq!(refusal(&other), (401, 40101), "{method} {rest}");
    }
}

#[tokio::test]
async fn an_app_has_at_most_fifty_rules() {
    let server = start([]).await;
    let path = rule_path(&server, "");
    for _ in 0..50 {
        let body = rule("http://127.0.0.1:1/");
        let (answer, _) = ask(&server, server.key(), Format::Json, "POST", &path, &body).await;
        assert_eq!(answer.status, 201);
    }
    let body = rule("http://127.0.0.1:1/");
    let refused = ask(&server, server.key(), Format::Json, "POST", &path, &body).await;
    assert_eq!(refusal(&refused), (401, 40125));
}

#[tokio::test]
async fn an_app_is_not_created_with_a_rule_that_is_refused() {
    let server = hasty().max_apps(2).start().await.unwrap();
    for bad in [json!({"ruleType": "http"}), rule("http://10.0.0.1/")] {
        let body = json!({"keys": [{}], "rules": [bad]});
        let refused = ask(&server, server.key(), Format::Json, "POST", "/apps", &body).await;
        assert_eq!(refusal(&refused), (400, 40000));
    }
    // There is still room for one.
    app(&server, &json!({"keys": [{}], "rules": [rule("http://127.0.0.1:1/")]})).await;
}

#[tokio::test]
async fn a_rule_of_the_start_cannot_be_changed_and_a_wrong_one_stops_the_start() {
    let endpoint = Endpoint::new().await;
    let server = start([messages(&endpoint)]).await;
    let path = rule_path(&server, "/rule");
    for (method, body) in [("DELETE", Value::Null), ("PATCH", json!({"status": "disabled"}))] {
        let refused = ask(&server, server.key(), Format::Json, method, &path, &body).await;
        assert_eq!(refusal(&refused), (400, 40000));
    }
    let wrong = [
        Rule::new(Source::Message, "ftp://a"),
        Rule::new(Source::Message, "http://10.0.0.1/"),
        Rule::new(Source::Message, "http://127.0.0.1/").signing_key_id("nokey"),
    ];
    for rule in wrong {
        let error = hasty().webhook_rules([rule]).start().await.unwrap_err();
        assert!(error.to_string().contains("a rule for webhooks"), "{error}");
    }
}

#[tokio::test]
async fn dead_letters_are_limited_and_emptied() {
    let endpoint = Endpoint::with(|_, _| endpoint::Reaction::Status(400)).await;
    let server = start([messages(&endpoint)]).await;
    publish(&server, "a", numbers(0..5)).await;
    dead_letters(&server, "rule", 5).await;
    let path = rule_path(&server, "/rule/deadLetters");
    let limited = format!("{path}?limit=2");
    let (_, letters) =
        ask(&server, server.key(), Format::Json, "GET", &limited, &Value::Null).await;
    let data = |index: usize| &letters["items"][index]["event"]["messages"][0]["data"];
    assert_eq!((data(0), data(1)), (&json!("4"), &json!("3")), "the newest first");
    assert_eq!((letters["items"].as_array().unwrap().len(), &letters["total"]), (2, &json!(5)));
    let wrong = format!("{path}?limit=many");
    let refused = ask(&server, server.key(), Format::Json, "GET", &wrong, &Value::Null).await;
    assert_eq!(refusal(&refused), (400, 40003));
    let (answer, _) = ask(&server, server.key(), Format::Json, "DELETE", &path, &Value::Null).await;
    assert_eq!(answer.status, 204);
    let (_, letters) = ask(&server, server.key(), Format::Json, "GET", &path, &Value::Null).await;
    assert_eq!(letters, json!({"total": 0, "items": []}));
}
