//! Metachannels, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use capably_protocol::{ClientFrame, Format, Message, ServerFrame, frame::Delivery};
use capably_server::{Server, engine::Mesh};
use serde_json::{Value, json};

use support::*;

const CHANNELS: &str = "[meta]channel.lifecycle";
const CONNECTIONS: &str = "[meta]connection.lifecycle";
const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

/// Two keys of a new app: one for metachannels alone, and one without them.
async fn keys(server: &Server) -> (String, String) {
    let spec = json!({"keys": [
        {"capability": r#"{"[meta]*":["subscribe","history"]}"#},
        {"capability": r#"{"*":["*"]}"#},
    ]});
    let mut keys = app(server, &spec).await;
    let usual = keys.remove(1);
    (keys.remove(0), usual)
}

/// A rule for the messages of all channels.
fn rule(url: &str) -> Value {
    json!({
        "ruleType": "http",
        "requestMode": "single",
        "source": {"channelFilter": "", "type": "channel.message"},
        "target": {"url": url},
    })
}

/// An app with a key for everything, metachannels included.
fn everywhere() -> Value {
    json!({"keys": [{"capability": r#"{"*":["*"],"[*]*":["*"]}"#}]})
}

async fn connect(server: &Server, format: Format, query: &str) -> Client {
    let mut client = Client::open(server, format, query).await;
    assert!(matches!(client.next().await, ServerFrame::Connected(_)));
    client
}

/// The name and the data of the one event in a frame.
fn event(delivery: &Delivery<Message>) -> (&str, Value) {
    let [message] = &delivery.items[..] else { panic!("one event: {delivery:?}") };
    assert_eq!(message.encoding.as_deref(), Some("json"));
    let data = serde_json::from_str(message.data.as_str().unwrap()).unwrap();
    (message.name.as_deref().unwrap_or_default(), data)
}

/// The names and the data of the next events of a client.
async fn events<const N: usize>(client: &mut Client) -> [(String, Value); N] {
    let mut events = [const { (String::new(), Value::Null) }; N];
    for received in &mut events {
        let delivery = client.message().await;
        let (name, data) = event(&delivery);
        *received = (name.to_owned(), data);
    }
    events
}

fn path_of(metachannel: &str) -> String {
    metachannel.replace('[', "%5B").replace(']', "%5D")
}

#[tokio::test]
async fn a_client_receives_the_lifecycle_of_channels_and_connections() {
    let server = server().await;
    for format in FORMATS {
        let (meta, usual) = keys(&server).await;
        let mut observer = connect(&server, format, &format!("key={meta}")).await;
        assert_eq!(observer.attach(CONNECTIONS).await.channel, *CONNECTIONS);
        let query = format!("key={usual}&clientId=ada");
        let mut client = connect(&server, format, &query).await;
        let [(name, opened)] = events(&mut observer).await;
        assert_eq!((&*name, &opened["clientId"]), ("connection.opened", &json!("ada")));
        assert!(opened["connectionId"].is_string());

        observer.attach(CHANNELS).await;
        client.attach("a").await;
        let [(opened, channel), (occupied, details)] = events(&mut observer).await;
        assert_eq!((&*opened, &*occupied), ("channel.opened", "channel.occupancy"));
        assert_eq!(
            (&channel["channelId"], &channel["status"]["isActive"]),
            (&json!("a"), &json!(true))
        );
        assert_eq!(
            details,
            json!({"channelId": "a", "name": "a", "status": {
                "isActive": true,
                "occupancy": {"metrics": {
                    "connections": 1,
                    "publishers": 1,
                    "subscribers": 1,
                    "presenceConnections": 1,
                    "presenceMembers": 0,
                    "presenceSubscribers": 1,
                    "objectPublishers": 0,
                    "objectSubscribers": 0,
                }},
            }})
        );
        client.send(&ClientFrame::Close).await;
        let mut names = events::<2>(&mut observer).await.map(|(name, _)| name);
        names.sort();
        assert_eq!(names, ["channel.occupancy", "connection.closed"]);

        let target = format!("/channels/{}/messages?direction=forwards", path_of(CHANNELS));
        let history = ask(&server, &meta, format, "GET", &target, &Value::Null).await;
        assert_eq!(history.0.status, 200);
        let names: Vec<_> = history.1.as_array().unwrap().iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["channel.opened", "channel.occupancy", "channel.occupancy"]);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn nobody_publishes_on_a_metachannel() {
    let server = server().await;
    for format in FORMATS {
        let key = app(&server, &everywhere()).await.remove(0);
        let target = format!("/channels/{}/messages", path_of(CHANNELS));
        let body = json!({"name": "channel.opened", "data": "x"});
        let refused = ask(&server, &key, format, "POST", &target, &body).await;
        assert_eq!(refusal(&refused), (401, 40160));
        let mut client = connect(&server, format, &format!("key={key}")).await;
        client.attach(CHANNELS).await;
        client.publish(CHANNELS, 0, vec![Message::new("m", "x")]).await;
        let ServerFrame::Nack(nack) = client.next().await else { panic!("a NACK") };
        assert_eq!(nack.error.unwrap().code.0, 40160);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_webhook_that_is_given_up_is_logged() {
    let closed = ClosedPort::new();
    let server = builder().webhook_retry_unit(Duration::from_millis(1)).start().await.unwrap();
    for format in FORMATS {
        let key = app(&server, &everywhere()).await.remove(0);
        let path = format!("/apps/{}/rules", key.split('.').next().unwrap());
        let (answer, rule) = ask(&server, &key, format, "POST", &path, &rule(&closed.url())).await;
        assert_eq!(answer.status, 201);
        let mut client = connect(&server, format, &format!("key={key}")).await;
        client.attach("[meta]log").await;
        client.publish("a", 0, vec![Message::new("m", "x")]).await;
        assert_eq!(client.ack().await.msg_serial, 0);
        let [(name, logged)] = events(&mut client).await;
        assert_eq!((&*name, &logged["tag"]), ("", &json!("reactor.generic.http")));
        assert_eq!((&logged["ruleId"], &logged["events"]), (&rule["id"], &json!(1)));
        assert_eq!(logged["error"]["code"], 70001);
    }
    server.shutdown().await;
}

/// Connects clients to a node until the observer, which is at another node, gets an event of one. Returns its name. The node learns
/// of the observer a moment after that has attached.
async fn first_event(observer: &mut Client, node: &Server, format: Format, query: &str) -> String {
    let first = async {
        loop {
            tokio::select! {
                delivery = observer.message() => return event(&delivery).0.to_owned(),
                _ = connect(node, format, query) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, first).await.unwrap()
}

#[tokio::test]
async fn a_client_at_one_node_receives_the_events_of_the_others() {
    let mesh = Mesh::new();
    let node = || Server::builder().engine(mesh.node()).start();
    let (first, second) = (node().await.unwrap(), node().await.unwrap());
    for format in FORMATS {
        let (meta, usual) = keys(&first).await;
        let query = format!("key={usual}");
        let mut observer = connect(&first, format, &format!("key={meta}")).await;
        observer.attach(CONNECTIONS).await;
        assert_eq!(first_event(&mut observer, &second, format, &query).await, "connection.opened");
    }
    first.shutdown().await;
    second.shutdown().await;
}

/// The events of connections until this one has an event with this name.
async fn events_until(observer: &mut Client, name: &str, id: &str) -> Vec<(String, String)> {
    let last = (name.to_owned(), id.to_owned());
    let mut events = Vec::new();
    while !events.contains(&last) {
        let delivery = observer.message().await;
        let (name, data) = event(&delivery);
        events.push((name.to_owned(), data["connectionId"].as_str().unwrap().to_owned()));
    }
    events
}

#[tokio::test]
async fn a_connection_that_moves_to_another_node_is_opened_and_closed_once() {
    let mesh = Mesh::new();
    let ttl = Duration::from_millis(100);
    let node = || Server::builder().engine(mesh.node()).connection_state_ttl(ttl).start();
    let (first, second) = (node().await.unwrap(), node().await.unwrap());
    for format in FORMATS {
        let (meta, usual) = keys(&first).await;
        let query = format!("key={usual}");
        let mut observer = connect(&first, format, &format!("key={meta}")).await;
        observer.attach(CONNECTIONS).await;
        first_event(&mut observer, &second, format, &query).await;

        let connected = async |server, query: &str| {
            let mut client = Client::open(server, format, query).await;
            let ServerFrame::Connected(connected) = client.next().await else { panic!() };
            let key = connected.details.unwrap().connection_key.unwrap().to_string();
            (client, connected.connection_id.unwrap().to_string(), key)
        };
        let (_old, moved, key) = connected(&first, &query).await;
        let (mut client, same, _) = connected(&second, &format!("{query}&resume={key}")).await;
        assert_eq!(moved, same);
        // The first node forgets what it has of the connection before it forgets this one, which ends later.
        let (other, gone, _) = connected(&first, &query).await;
        drop(other);
        let mut events = events_until(&mut observer, "connection.closed", &gone).await;
        client.send(&ClientFrame::Close).await;
        events.extend(events_until(&mut observer, "connection.closed", &moved).await);
        let of_moved = events.iter().filter(|(_, id)| *id == moved).map(|(name, _)| &**name);
        assert_eq!(of_moved.collect::<Vec<_>>(), ["connection.opened", "connection.closed"]);
    }
}

#[tokio::test]
async fn webhooks_do_not_report_metachannels() {
    let server = server().await;
    let key = app(&server, &everywhere()).await.remove(0);
    let path = format!("/apps/{}/rules", key.split('.').next().unwrap());
    let rule = rule("http://127.0.0.1:9/");
    let (answer, rule) = ask(&server, &key, Format::Json, "POST", &path, &rule).await;
    assert_eq!(answer.status, 201);
    let mut observer = connect(&server, Format::Json, &format!("key={key}")).await;
    observer.attach(CHANNELS).await;
    let mut client = connect(&server, Format::Json, &format!("key={key}")).await;
    client.attach("a").await;
    assert_eq!(events::<2>(&mut observer).await[0].0, "channel.opened");
    let path = format!("{path}/{}", rule["id"].as_str().unwrap());
    let read = async || ask(&server, &key, Format::Json, "GET", &path, &Value::Null).await.1;
    assert_eq!(read().await["delivery"]["waiting"], 0);
    client.publish("a", 0, vec![Message::new("m", "x")]).await;
    assert_eq!(client.message().await.channel, "a");
    assert_eq!(client.ack().await.msg_serial, 0);
    assert_eq!(read().await["delivery"]["waiting"], 1);
    server.shutdown().await;
}
