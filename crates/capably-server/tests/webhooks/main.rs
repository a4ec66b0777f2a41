//! Webhooks over real sockets: what endpoints receive, whatever they answer.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod delivery;
mod endpoint;
mod failing;
mod nodes;
mod payloads;
mod private;
mod restart;
mod rules;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::time::Duration;

use capably_protocol::Format;
use capably_server::{
    Builder, Server,
    webhooks::{RequestMode, Rule, Source},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use endpoint::Endpoint;
use support::{ClosedPort, ask, builder, request};

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];
const MODES: [RequestMode; 2] = [RequestMode::Single, RequestMode::Batch];

/// A builder whose webhooks are repeated soon.
fn hasty() -> Builder {
    builder().webhook_retry_unit(Duration::from_millis(5))
}

/// A server with these rules.
async fn start(rules: impl IntoIterator<Item = Rule>) -> Server {
    hasty().webhook_rules(rules).start().await.unwrap()
}

fn messages(endpoint: &Endpoint) -> Rule {
    Rule::new(Source::Message, endpoint.url()).id("rule")
}

/// Publishes messages with these data, one after the other.
async fn publish(server: &Server, channel: &str, data: impl IntoIterator<Item = String>) {
    for data in data {
        let target = format!("/channels/{channel}/messages");
        let answer = request(server, "POST", &target, &json!({"data": data})).await;
        assert_eq!(answer.status, 201);
    }
}

fn numbers(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|number| number.to_string())
}

/// The path of a rule of the first app.
fn rule_path(server: &Server, rest: &str) -> String {
    format!("/apps/{}/rules{rest}", server.key().split('.').next().unwrap())
}

/// The counts of the delivery of a rule.
async fn counts(server: &Server, id: &str) -> Value {
    let path = rule_path(server, &format!("/{id}"));
    let (answer, rule) = ask(server, server.key(), Format::Json, "GET", &path, &Value::Null).await;
    assert_eq!(answer.status, 200);
    rule["delivery"].clone()
}

/// Waits until so many events of a rule were given up, and returns the dead letters.
async fn dead_letters(server: &Server, id: &str, total: u64) -> Value {
    let path = rule_path(server, &format!("/{id}/deadLetters?limit=1000"));
    let given_up = async {
        loop {
            let (_, letters) =
                ask(server, server.key(), Format::Json, "GET", &path, &Value::Null).await;
            if letters["total"].as_u64().unwrap() >= total {
                return letters;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(support::PATIENCE, given_up).await.expect("too few events were given up")
}
