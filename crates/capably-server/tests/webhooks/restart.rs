//! A server ends while events wait, and the next one delivers them.

use std::{path::Path, sync::Arc};

use capably_server::engine::{Engine, Memory};
use tokio::net::TcpListener;

use super::{endpoint::Reaction, *};

enum Place {
    Memory(Arc<Memory>),
    Disk(tempfile::TempDir),
}

impl Place {
    fn all() -> [Self; 2] {
        [Self::Memory(Arc::new(Memory::new())), Self::Disk(tempfile::tempdir().unwrap())]
    }

    fn builder(&self) -> Builder {
        let builder = Server::builder().webhook_retry_unit(Duration::from_millis(5));
        match self {
            Self::Memory(memory) => {
                memory.reopen();
                builder.engine(Arc::clone(memory) as Arc<dyn Engine>)
            }
            Self::Disk(directory) => builder.data(directory.path() as &Path),
        }
    }
}

async fn free_address() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn what_was_not_delivered_is_delivered_after_a_restart() {
    for place in Place::all() {
        for mode in MODES {
            let address = free_address().await;
            let url = format!("http://{address}/");
            let rule = || Rule::new(Source::Message, &url).id("rule").request_mode(mode);
            let patient = || place.builder().webhook_retry_unit(Duration::from_secs(3600));
            let server = patient().webhook_rules([rule()]).start().await.unwrap();
            publish(&server, "a", numbers(0..20)).await;
            publish(&server, "b", numbers(100..110)).await;
            server.shutdown().await;

            let mut endpoint = Endpoint::on(TcpListener::bind(address).await.unwrap(), |_, _| {
                Reaction::Status(200)
            });
            let server = place.builder().webhook_rules([rule()]).start().await.unwrap();
            publish(&server, "a", ["new".to_owned()]).await;
            let mut data = Vec::new();
            while data.len() < 31 {
                data.extend(endpoint.next().await.data());
            }
            let (b, a): (Vec<String>, Vec<String>) =
                data.into_iter().partition(|it| it.len() == 3 && it != "new");
            let expected: Vec<String> = numbers(0..20).chain(["new".to_owned()]).collect();
            assert_eq!(a, expected, "{mode:?}");
            assert_eq!(b, numbers(100..110).collect::<Vec<_>>(), "{mode:?}");
            server.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_acknowledged() {
    let place = Place::Memory(Arc::new(Memory::new()));
    let address = free_address().await;
    let rule = || Rule::new(Source::Message, format!("http://{address}/")).id("rule");
    let patient = place.builder().webhook_retry_unit(Duration::from_secs(3600));
    let server = patient.webhook_rules([rule()]).start().await.unwrap();
    publish(&server, "a", numbers(0..5)).await;
    // Nothing is stored at the end, as when the process is killed.
    drop(server);
    let mut endpoint =
        Endpoint::on(TcpListener::bind(address).await.unwrap(), |_, _| Reaction::Status(200));
    let server = place.builder().webhook_rules([rule()]).start().await.unwrap();
    assert_eq!(endpoint.data_until("4").await, numbers(0..5).collect::<Vec<_>>());
    server.shutdown().await;
}

#[tokio::test]
async fn what_was_delivered_is_not_delivered_again_after_an_orderly_restart() {
    for place in Place::all() {
        let mut endpoint = Endpoint::new().await;
        let server = place.builder().webhook_rules([messages(&endpoint)]).start().await.unwrap();
        publish(&server, "a", numbers(0..10)).await;
        endpoint.data_until("9").await;
        while counts(&server, "rule").await["waiting"] != 0 {
            tokio::task::yield_now().await;
        }
        server.shutdown().await;
        let server = place.builder().webhook_rules([messages(&endpoint)]).start().await.unwrap();
        publish(&server, "a", ["next".to_owned()]).await;
        assert_eq!(endpoint.next().await.data(), ["next"]);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_rule_that_was_created_over_rest_is_there_after_a_restart() {
    for place in Place::all() {
        let mut endpoint = Endpoint::new().await;
        let server = place.builder().start().await.unwrap();
        let body = json!({
            "ruleType": "http", "requestMode": "batch", "source": {"type": "channel.message"},
            "target": {"url": endpoint.url(), "format": "msgpack", "headers": [{"name": "A", "value": "b"}]},
        });
        let path = rule_path(&server, "");
        let (_, created) = ask(&server, server.key(), Format::Json, "POST", &path, &body).await;
        server.shutdown().await;
        let server = place.builder().start().await.unwrap();
        let (_, rules) = ask(&server, server.key(), Format::Json, "GET", &path, &Value::Null).await;
        assert_eq!(rules, json!([created]));
        publish(&server, "a", ["x".to_owned()]).await;
        let request = endpoint.next().await;
        assert_eq!((request.data(), request.header("a")), (vec!["x".to_owned()], Some("b")));
        // A deleted rule does not come back.
        let id = created["id"].as_str().unwrap();
        let one = format!("{path}/{id}");
        ask(&server, server.key(), Format::Json, "DELETE", &one, &Value::Null).await;
        server.shutdown().await;
        let server = place.builder().start().await.unwrap();
        let (_, rules) = ask(&server, server.key(), Format::Json, "GET", &path, &Value::Null).await;
        assert_eq!(rules, json!([]));
        server.shutdown().await;
    }
}

#[tokio::test]
async fn messages_before_the_rule_are_not_reported() {
    for place in Place::all() {
        let server = place.builder().start().await.unwrap();
        publish(&server, "a", ["old".to_owned()]).await;
        server.shutdown().await;
        let mut endpoint = Endpoint::new().await;
        let server = place.builder().webhook_rules([messages(&endpoint)]).start().await.unwrap();
        publish(&server, "a", ["new".to_owned()]).await;
        assert_eq!(endpoint.next().await.data(), ["new"]);
        server.shutdown().await;
    }
}
