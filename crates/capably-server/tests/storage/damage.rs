//! Entries that cannot be read: clients get everything else.

use std::{sync::Arc, time::Duration};

use capably_protocol::{Data, Format, frame::Attach};
use capably_server::{
    Server,
    engine::{Append, ChannelId, Engine, Kind, Memory},
};
use serde_json::{Value, json};

use super::support::{Client, ask};

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

async fn start(memory: &Arc<Memory>) -> Server {
    memory.reopen();
    let builder = Server::builder().key("app-id.key:secret");
    builder.engine(Arc::clone(memory) as Arc<dyn Engine>).start().await.unwrap()
}

/// Appends entries that no server has written.
fn damage(memory: &Memory, channel: &str, kind: Kind, count: usize) {
    let entry = Append {
        channel: ChannelId { app: "app-id".into(), name: channel.into() },
        id: None,
        kind,
        threads: Vec::new(),
        time: i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap(),
        keep: Duration::from_secs(100),
        payload: "neither an entry nor anything else".into(),
    };
    let done = |results: Vec<_>| assert!(results.iter().all(Result::is_ok));
    memory.append(vec![entry; count], Box::new(done));
}

async fn publish(server: &Server, format: Format, channel: &str, data: &str) {
    let target = format!("/channels/{channel}/messages");
    let body = json!({ "data": data });
    let (answer, _) = ask(server, server.key(), format, "POST", &target, &body).await;
    assert_eq!(answer.status, 201);
}

async fn history(server: &Server, format: Format, channel: &str, query: &str) -> Vec<Value> {
    let target = format!("/channels/{channel}/messages?{query}");
    let (answer, found) = ask(server, server.key(), format, "GET", &target, &Value::Null).await;
    assert_eq!(answer.status, 200, "{found}");
    found.as_array().unwrap().iter().map(|message| message["data"].clone()).collect()
}

#[tokio::test]
async fn everything_but_the_damaged_entries_is_replayed_and_read() {
    for format in FORMATS {
        // More than are read at once.
        for (number, count) in [1, 2500].into_iter().enumerate() {
            let memory = Arc::new(Memory::new());
            let server = start(&memory).await;
            let channel = &*format!("c{number}");
            let (mut client, _) = Client::connect(&server, format).await;
            let start_serial = client.attach(channel).await.channel_serial;
            publish(&server, format, channel, "one").await;
            damage(&memory, channel, Kind::Messages, count);
            damage(&memory, channel, Kind::Presence, 1);
            publish(&server, format, channel, "two").await;
            damage(&memory, channel, Kind::Messages, count);
            server.shutdown().await;

            let server = start(&memory).await;
            let forwards = history(&server, format, channel, "direction=forwards").await;
            assert_eq!(forwards, ["one", "two"]);
            assert_eq!(history(&server, format, channel, "limit=1").await, ["two"]);
            let target = format!("/channels/{channel}/presence/history");
            let asked = ask(&server, server.key(), format, "GET", &target, &Value::Null).await;
            assert_eq!((asked.0.status, asked.1), (200, json!([])));

            let (mut client, _) = Client::connect(&server, format).await;
            let channel_serial = start_serial.clone();
            let attach = Attach { channel: channel.into(), channel_serial, ..Attach::default() };
            let attached = client.attach_with(attach).await;
            assert!(attached.error.is_none(), "{:?}", attached.error);
            // What is published later shows that it has caught up.
            publish(&server, format, channel, "three").await;
            for expected in ["one", "two", "three"] {
                assert_eq!(client.message().await.items[0].data, Data::from(expected));
            }
            server.shutdown().await;
        }
    }
}
