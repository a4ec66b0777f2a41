//! Several servers with one engine are one service: clients of any node, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use capably_protocol::{
    ClientFrame, Data, Flags, Format, Message, MessageAction, PresenceAction, PresenceMessage,
    ServerFrame, Str,
    frame::{Attach, Delivery, Publish},
};
use capably_server::{
    Server,
    engine::{Engine, Mesh, MeshNode},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use support::*;

const KEY: &str = "app-id.key:secret";

/// The servers of a cluster.
struct Cluster {
    nodes: Vec<Arc<MeshNode>>,
    servers: Vec<Server>,
}

impl Cluster {
    async fn of(count: usize) -> Self {
        let mesh = Mesh::new();
        let mut cluster = Self { nodes: Vec::new(), servers: Vec::new() };
        for _ in 0..count {
            let node = mesh.node();
            let builder = Server::builder()
                .key(KEY)
                .presence_remain(Duration::from_millis(300))
                .engine(Arc::clone(&node) as Arc<dyn Engine>);
            cluster.servers.push(builder.start().await.unwrap());
            cluster.nodes.push(node);
        }
        cluster
    }

    fn server(&self, index: usize) -> &Server {
        &self.servers[index]
    }
}

/// Waits until a condition holds.
async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Waits until the clock has another millisecond: a revocation concerns tokens that were issued in an earlier one.
async fn next_millisecond() {
    let now = || UNIX_EPOCH.elapsed().unwrap().as_millis();
    let start = now();
    until("the next millisecond", || async { now() > start }).await;
}

fn key_of(connected: &capably_protocol::frame::Connected) -> String {
    connected.details.as_ref().unwrap().connection_key.as_ref().unwrap().to_string()
}

fn presence(channel: &str, msg_serial: u64, action: PresenceAction, client: &str) -> ClientFrame {
    let item = PresenceMessage {
        action: Some(action),
        client_id: Some(client.into()),
        ..PresenceMessage::default()
    };
    ClientFrame::Presence(Publish {
        channel: channel.into(),
        msg_serial,
        items: Arc::from([item]),
        params: Default::default(),
    })
}

impl Client {
    /// The next PRESENCE, without other frames.
    async fn event_of_member(&mut self) -> (PresenceAction, Str) {
        loop {
            if let ServerFrame::Presence(delivery) = self.next().await {
                let [event] = &delivery.items[..] else { panic!("{delivery:?}") };
                return (event.action.unwrap(), event.client_id.clone().unwrap());
            }
        }
    }

    /// The next MESSAGE, without other frames.
    async fn next_message(&mut self) -> Delivery<Message> {
        loop {
            if let ServerFrame::Message(delivery) = self.next().await {
                return delivery;
            }
        }
    }
}

async fn members(server: &Server, format: Format, channel: &str) -> Vec<String> {
    let target = format!("/channels/{channel}/presence");
    let (_, members) = ask(server, KEY, format, "GET", &target, &Value::Null).await;
    let members = members.as_array().unwrap().iter();
    let mut ids: Vec<_> =
        members.map(|member| member["clientId"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

async fn metric(server: &Server, channel: &str, name: &str) -> u64 {
    let target = format!("/channels/{channel}");
    let (_, status) = ask(server, KEY, Format::Json, "GET", &target, &Value::Null).await;
    status["status"]["occupancy"]["metrics"][name].as_u64().unwrap()
}

#[tokio::test]
async fn all_nodes_deliver_a_channel_in_one_order() {
    let cluster = Cluster::of(3).await;
    for format in [Format::Json, Format::MsgPack] {
        let channel = format!("order:{format:?}");
        let mut clients = Vec::new();
        for index in 0..3 {
            let (mut client, _) = Client::connect(cluster.server(index), format).await;
            client.attach(&channel).await;
            clients.push(client);
        }
        for serial in 0..20 {
            for (index, client) in clients.iter_mut().enumerate() {
                let message = Message::new("m", format!("{index}:{serial}"));
                client.publish(&channel, serial, vec![message]).await;
            }
        }
        let mut orders = Vec::new();
        for client in &mut clients {
            let mut order = Vec::new();
            let mut last = Str::new();
            for _ in 0..60 {
                let delivery = client.next_message().await;
                let serial = delivery.channel_serial.unwrap();
                assert!(serial > last);
                last = serial;
                order.push(delivery.items[0].data.as_str().unwrap().to_owned());
            }
            orders.push(order);
        }
        assert_eq!(orders[0], orders[1]);
        assert_eq!(orders[0], orders[2]);
    }
}

#[tokio::test]
async fn a_message_published_over_rest_reaches_the_clients_of_other_nodes_and_their_history() {
    let cluster = Cluster::of(2).await;
    for format in [Format::Json, Format::MsgPack] {
        let channel = format!("rest:{format:?}");
        let (mut client, _) = Client::connect(cluster.server(1), format).await;
        client.attach(&channel).await;
        let target = format!("/channels/{channel}/messages");
        let body = json!({"name": "m", "data": "text"});
        ask(cluster.server(0), KEY, format, "POST", &target, &body).await;
        assert_eq!(client.message().await.items[0].data, Data::from("text"));
        let (_, page) = ask(cluster.server(1), KEY, format, "GET", &target, &Value::Null).await;
        assert_eq!(page[0]["data"], "text");
        let (mut late, _) = Client::connect(cluster.server(1), format).await;
        let params = [("rewind".to_owned(), "1".to_owned())].into();
        let attach = Attach { channel: channel.as_str().into(), params, ..Attach::default() };
        late.attach_with(attach).await;
        assert_eq!(late.message().await.items[0].data, Data::from("text"));
    }
}

// Spec: RTN15b, RTN15c6, RTN19a2
#[tokio::test]
async fn a_client_resumes_at_another_node_without_loss_or_repetition() {
    let cluster = Cluster::of(2).await;
    for format in [Format::Json, Format::MsgPack] {
        let channel = format!("resume:{format:?}");
        let (mut client, connected) = Client::connect(cluster.server(0), format).await;
        client.attach(&channel).await;
        client.publish(&channel, 0, vec![Message::new("m", "first")]).await;
        let first = client.next_message().await;
        client.ack().await;

        let resume = format!("resume={}", key_of(&connected));
        let (mut moved, resumed) = Client::connect_with(cluster.server(1), format, &resume).await;
        assert_eq!(resumed.connection_id, connected.connection_id);
        assert_eq!(resumed.error, None);
        assert!(matches!(client.event().await, Event::End), "the old transport is closed");

        // The client does not know that the first message was acknowledged, and sends it again.
        let attach = Attach {
            channel: channel.as_str().into(),
            channel_serial: first.channel_serial.clone(),
            flags: Flags::ATTACH_RESUME,
            ..Attach::default()
        };
        assert!(moved.attach_with(attach).await.flags.contains(Flags::RESUMED));
        moved.publish(&channel, 0, vec![Message::new("m", "first")]).await;
        let ack = moved.ack().await;
        assert_eq!(serials(&ack), [first.items[0].serial.as_deref().unwrap()]);
        moved.publish(&channel, 1, vec![Message::new("m", "second")]).await;
        assert_eq!(moved.message().await.items[0].data, Data::from("second"));
        moved.ack().await;

        // And back again, with what was missed.
        drop(moved);
        ask(
            cluster.server(1),
            KEY,
            format,
            "POST",
            &format!("/channels/{channel}/messages"),
            &json!({"data": "third"}),
        )
        .await;
        let resume = format!("resume={}", key_of(&resumed));
        let (mut back, _) = Client::connect_with(cluster.server(0), format, &resume).await;
        let attach = Attach {
            channel: channel.as_str().into(),
            channel_serial: first.channel_serial.clone(),
            flags: Flags::ATTACH_RESUME,
            ..Attach::default()
        };
        assert!(back.attach_with(attach).await.flags.contains(Flags::RESUMED));
        for expected in ["second", "third"] {
            assert_eq!(back.message().await.items[0].data, Data::from(expected));
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_is_resumed_at_no_node() {
    let cluster = Cluster::of(2).await;
    let (mut client, connected) = Client::connect(cluster.server(0), Format::Json).await;
    client.send(&ClientFrame::Close).await;
    assert_eq!(client.next().await, ServerFrame::Closed);
    let resume = format!("resume={}", key_of(&connected));
    for index in [0, 1] {
        let server = cluster.server(index);
        let (_, new) = Client::connect_with(server, Format::Json, &resume).await;
        assert_eq!(new.error.unwrap().code.0, 80018);
        assert_ne!(new.connection_id, connected.connection_id);
    }
    let forged = resume.replace('!', "!A");
    let (_, new) = Client::connect_with(cluster.server(1), Format::Json, &forged).await;
    assert_eq!(new.error.unwrap().code.0, 80018);
}

#[tokio::test]
async fn members_are_known_at_every_node() {
    let cluster = Cluster::of(3).await;
    for format in [Format::Json, Format::MsgPack] {
        let channel = format!("members:{format:?}");
        let (mut first, _) = Client::connect(cluster.server(0), format).await;
        let (mut second, _) = Client::connect(cluster.server(1), format).await;
        first.attach(&channel).await;
        second.attach(&channel).await;
        first.send(&presence(&channel, 0, PresenceAction::Enter, "ada")).await;
        assert_eq!(second.event_of_member().await, (PresenceAction::Enter, "ada".into()));
        // The third node has not used the channel before.
        assert_eq!(members(cluster.server(2), format, &channel).await, ["ada"]);
        second.send(&presence(&channel, 0, PresenceAction::Enter, "bo")).await;
        until("bo is known", || async {
            members(cluster.server(2), format, &channel).await == ["ada", "bo"]
        })
        .await;
        let (mut third, _) = Client::connect(cluster.server(2), format).await;
        assert!(third.attach(&channel).await.flags.contains(Flags::HAS_PRESENCE));
        let ServerFrame::Sync(sync) = third.next().await else { panic!("no SYNC") };
        assert_eq!(sync.items.len(), 2);
        first.send(&ClientFrame::Detach { channel: channel.as_str().into() }).await;
        assert_eq!(third.event_of_member().await, (PresenceAction::Leave, "ada".into()));
        second.send(&ClientFrame::Close).await;
        assert_eq!(third.event_of_member().await, (PresenceAction::Leave, "bo".into()));
        assert_eq!(members(cluster.server(0), format, &channel).await, [""; 0]);
    }
}

#[tokio::test]
async fn the_members_of_a_client_that_resumes_at_another_node_stay() {
    let cluster = Cluster::of(3).await;
    for format in [Format::Json, Format::MsgPack] {
        let channel = format!("moving:{format:?}");
        let (mut viewer, _) = Client::connect(cluster.server(2), format).await;
        viewer.attach(&channel).await;
        let (mut client, connected) = Client::connect(cluster.server(0), format).await;
        client.attach(&channel).await;
        client.send(&presence(&channel, 0, PresenceAction::Enter, "ada")).await;
        assert_eq!(viewer.event_of_member().await, (PresenceAction::Enter, "ada".into()));
        drop(client);
        let resume = format!("resume={}", key_of(&connected));
        let (mut moved, _) = Client::connect_with(cluster.server(1), format, &resume).await;
        moved.attach(&channel).await;
        // Members of clients that are disconnected leave meanwhile, one after the other.
        for index in 0..4 {
            let witness = format!("witness{index}");
            let (mut client, _) = Client::connect(cluster.server(0), format).await;
            client.attach(&channel).await;
            client.send(&presence(&channel, 0, PresenceAction::Enter, &witness)).await;
            let witness = Str::from(witness.as_str());
            assert_eq!(viewer.event_of_member().await, (PresenceAction::Enter, witness.clone()));
            drop(client);
            assert_eq!(viewer.event_of_member().await, (PresenceAction::Leave, witness));
        }
        assert_eq!(members(cluster.server(0), format, &channel).await, ["ada"]);
        moved.send(&presence(&channel, 1, PresenceAction::Leave, "ada")).await;
        assert_eq!(viewer.event_of_member().await, (PresenceAction::Leave, "ada".into()));
    }
}

#[tokio::test]
async fn the_members_of_a_node_that_dies_leave_unless_their_client_comes_back() {
    let cluster = Cluster::of(3).await;
    let format = Format::MsgPack;
    let (mut viewer, _) = Client::connect(cluster.server(2), format).await;
    viewer.attach("c").await;
    let (mut ada, _) = Client::connect(cluster.server(0), format).await;
    let (mut bo, connected) = Client::connect(cluster.server(0), format).await;
    for (client, name) in [(&mut ada, "ada"), (&mut bo, "bo")] {
        client.attach("c").await;
        client.send(&presence("c", 0, PresenceAction::Enter, name)).await;
        assert_eq!(viewer.event_of_member().await, (PresenceAction::Enter, name.into()));
    }
    cluster.nodes[0].kill();
    let resume = format!("resume={}", key_of(&connected));
    let (mut moved, _) = Client::connect_with(cluster.server(1), format, &resume).await;
    moved.attach("c").await;
    // The lease of the node ends after ten seconds.
    assert_eq!(viewer.event_of_member().await, (PresenceAction::Leave, "ada".into()));
    assert_eq!(members(cluster.server(1), format, "c").await, ["bo"]);
    assert_eq!(members(cluster.server(2), format, "c").await, ["bo"]);
}

#[tokio::test]
async fn a_node_that_shuts_down_leaves_no_members() {
    let cluster = Cluster::of(2).await;
    let (mut viewer, _) = Client::connect(cluster.server(1), Format::Json).await;
    viewer.attach("c").await;
    let (mut client, _) = Client::connect(cluster.server(0), Format::Json).await;
    client.attach("c").await;
    client.send(&presence("c", 0, PresenceAction::Enter, "ada")).await;
    assert_eq!(viewer.event_of_member().await, (PresenceAction::Enter, "ada".into()));
    cluster.server(0).shutdown().await;
    assert_eq!(viewer.event_of_member().await, (PresenceAction::Leave, "ada".into()));
}

#[tokio::test]
async fn the_occupancy_of_a_channel_is_that_of_all_nodes() {
    let cluster = Cluster::of(2).await;
    let params = [("occupancy".to_owned(), "metrics.subscribers".to_owned())];
    let (mut viewer, _) = Client::connect(cluster.server(0), Format::Json).await;
    let attach = Attach { channel: "c".into(), params: params.into(), ..Attach::default() };
    viewer.attach_with(attach).await;
    let (mut other, _) = Client::connect(cluster.server(1), Format::Json).await;
    other.attach("c").await;
    until("two subscribers", || async {
        metric(cluster.server(0), "c", "subscribers").await == 2
            && metric(cluster.server(1), "c", "subscribers").await == 2
    })
    .await;
    other.send(&presence("c", 0, PresenceAction::Enter, "ada")).await;
    until("a member", || async { metric(cluster.server(0), "c", "presenceMembers").await == 1 })
        .await;
    loop {
        let delivery = viewer.next().await;
        let ServerFrame::Message(delivery) = delivery else { continue };
        if delivery.items[0].data.as_str() == Some(r#"{"metrics":{"subscribers":2}}"#) {
            break;
        }
    }
    cluster.server(1).shutdown().await;
    until("one subscriber", || async { metric(cluster.server(0), "c", "subscribers").await == 1 })
        .await;
}

#[tokio::test]
async fn tokens_that_are_revoked_at_one_node_end_connections_at_all() {
    let cluster = Cluster::of(3).await;
    let keys = app(cluster.server(0), &json!({"keys": [{"revocableTokens": true}]})).await;
    let name = keys[0].split(':').next().unwrap();
    let target = format!("/keys/{name}/requestToken");
    let wanted = json!({"clientId": "ada"});
    // The app and its key are known at every node when the request to create it returns.
    let (_, details) =
        ask(cluster.server(1), &keys[0], Format::Json, "POST", &target, &wanted).await;
    let token = details["token"].as_str().unwrap();
    let query = format!("accessToken={token}");
    let mut client = Client::open(cluster.server(2), Format::Json, &query).await;
    assert!(matches!(client.next().await, ServerFrame::Connected(_)));
    let target = format!("/keys/{name}/revokeTokens");
    let revoke = json!({"targets": ["clientId:ada"]});
    next_millisecond().await;
    ask(cluster.server(0), &keys[0], Format::Json, "POST", &target, &revoke).await;
    for index in 0..3 {
        let mut refused = Client::open(cluster.server(index), Format::Json, &query).await;
        assert_eq!(refused.last_error().await, 40141);
    }
    let codes = async {
        loop {
            if let ServerFrame::Disconnected { error } = client.next().await {
                return error.unwrap().code.0;
            }
        }
    };
    assert_eq!(codes.await, 40141);
}

#[tokio::test]
async fn revocations_at_several_nodes_hold_together_and_at_later_nodes() {
    let mesh = Mesh::new();
    let start = || Server::builder().key(KEY).engine(mesh.node() as Arc<dyn Engine>).start();
    let (first, second) = (start().await.unwrap(), start().await.unwrap());
    let keys = app(&first, &json!({"keys": [{"revocableTokens": true}]})).await;
    let name = keys[0].split(':').next().unwrap();
    let mut tokens = Vec::new();
    for client in ["ada", "bo"] {
        let target = format!("/keys/{name}/requestToken");
        let wanted = json!({"clientId": client});
        let (_, details) = ask(&first, &keys[0], Format::Json, "POST", &target, &wanted).await;
        tokens.push(details["token"].as_str().unwrap().to_owned());
    }
    let target = format!("/keys/{name}/revokeTokens");
    let revoke = async |server: &Server, client: &str| {
        let revoke = json!({"targets": [format!("clientId:{client}")]});
        let (answer, _) = ask(server, &keys[0], Format::Json, "POST", &target, &revoke).await;
        assert_eq!(answer.status, 201);
    };
    // A token that another node issues in the same millisecond is not older.
    next_millisecond().await;
    tokio::join!(revoke(&first, "ada"), revoke(&second, "bo"));
    let third = start().await.unwrap();
    for server in [&first, &second, &third] {
        for token in &tokens {
            let query = format!("accessToken={token}");
            let mut refused = Client::open(server, Format::Json, &query).await;
            assert_eq!(refused.last_error().await, 40141);
        }
    }
}

#[tokio::test]
async fn an_app_that_is_deleted_at_one_node_is_unknown_at_all() {
    let cluster = Cluster::of(2).await;
    let keys = app(cluster.server(0), &json!({"keys": [{}]})).await;
    let id = keys[0].split('.').next().unwrap();
    let query = format!("key={}", keys[0]);
    let mut client = Client::open(cluster.server(1), Format::Json, &query).await;
    assert!(matches!(client.next().await, ServerFrame::Connected(_)));
    let headers = [basic(&keys[0])];
    let mut http = Http::connect(cluster.server(0)).await;
    let deleted = http.request("DELETE", &format!("/apps/{id}"), &headers, b"").await;
    assert_eq!(deleted.status, 204);
    assert_eq!(client.last_error().await, 40400);
    let mut refused = Client::open(cluster.server(1), Format::Json, &query).await;
    assert_eq!(refused.last_error().await, 40400);
}

#[tokio::test]
async fn a_message_is_changed_and_annotated_at_any_node() {
    let cluster = Cluster::of(3).await;
    let spec = json!({"keys": [{}], "namespaces": [{"id": "mutable", "mutableMessages": true}]});
    let key = app(cluster.server(0), &spec).await.remove(0);
    for format in [Format::Json, Format::MsgPack] {
        let channel = format!("mutable:{format:?}");
        let target = format!("/channels/{channel}/messages");
        let body = json!({"name": "m", "data": "a"});
        let (_, published) = ask(cluster.server(0), &key, format, "POST", &target, &body).await;
        let serial = published["serials"][0].as_str().unwrap().to_owned();
        // The message is older than what this client's node has in memory, or not.
        let query = format!("key={key}");
        let mut viewer = Client::open(cluster.server(2), format, &query).await;
        assert!(matches!(viewer.next().await, ServerFrame::Connected(_)));
        viewer.attach(&channel).await;
        for (index, (node, text)) in [(1, "b"), (0, "c"), (2, "d")].into_iter().enumerate() {
            let mut publisher = Client::open(cluster.server(node), format, &query).await;
            assert!(matches!(publisher.next().await, ServerFrame::Connected(_)));
            let change = Message {
                action: Some(MessageAction::Append),
                serial: Some(serial.as_str().into()),
                ..Message::new("m", text)
            };
            publisher.publish(&channel, 0, vec![change]).await;
            publisher.ack().await;
            let seen = viewer.message().await;
            assert_eq!(seen.items[0].serial.as_deref(), Some(serial.as_str()), "{index}");
        }
        for index in 0..3 {
            let target = format!("{target}/{serial}");
            let (_, message) =
                ask(cluster.server(index), &key, format, "GET", &target, &Value::Null).await;
            assert_eq!(message["data"], "abcd");
        }
    }
}

#[tokio::test]
async fn ephemeral_messages_reach_the_clients_of_all_nodes() {
    let cluster = Cluster::of(2).await;
    let (mut client, _) = Client::connect(cluster.server(1), Format::MsgPack).await;
    client.attach("c").await;
    let extras = json!({"ephemeral": true}).as_object().cloned();
    let (mut publisher, _) = Client::connect(cluster.server(0), Format::MsgPack).await;
    publisher.publish("c", 0, vec![Message { extras, ..Message::new("m", "text") }]).await;
    publisher.ack().await;
    let delivery = client.message().await;
    assert_eq!((delivery.items[0].data.as_str(), delivery.channel_serial), (Some("text"), None));
}

#[tokio::test]
async fn a_node_that_is_cut_off_refuses_and_catches_up() {
    let cluster = Cluster::of(2).await;
    let (mut client, _) = Client::connect(cluster.server(0), Format::Json).await;
    client.attach("c").await;
    let (mut member, _) = Client::connect(cluster.server(0), Format::Json).await;
    member.attach("c").await;
    member.send(&presence("c", 0, PresenceAction::Enter, "ada")).await;
    assert_eq!(client.event_of_member().await, (PresenceAction::Enter, "ada".into()));
    let (mut other, _) = Client::connect(cluster.server(1), Format::Json).await;
    other.attach("c").await;

    cluster.nodes[0].cut(true);
    client.publish("c", 0, vec![Message::new("m", "lost")]).await;
    let ServerFrame::Nack(nack) = client.next().await else { panic!("no NACK") };
    assert_eq!(nack.error.unwrap().code.0, 50003);
    // A channel that cannot be loaded is not failed for good (RTL13b).
    client.send(&ClientFrame::Attach(Attach { channel: "d".into(), ..Attach::default() })).await;
    let ServerFrame::Detached { channel, error } = client.next().await else {
        panic!("no DETACHED")
    };
    assert_eq!((&*channel, error.unwrap().code.0), ("d", 50003));
    let mut http = Http::connect(cluster.server(0)).await;
    assert_eq!(http.request("GET", "/health/ready", &[], b"").await.status, 503);
    other.publish("c", 0, vec![Message::new("m", "meanwhile")]).await;
    assert_eq!(other.next_message().await.items[0].data, Data::from("meanwhile"));
    // The other node thinks that this one is gone, after its lease has ended.
    assert_eq!(other.event_of_member().await, (PresenceAction::Leave, "ada".into()));
    assert_eq!(members(cluster.server(1), Format::Json, "c").await, [""; 0]);

    cluster.nodes[0].cut(false);
    assert_eq!(client.next_message().await.items[0].data, Data::from("meanwhile"));
    assert_eq!(client.event_of_member().await, (PresenceAction::Leave, "ada".into()));
    // The client of the member was connected all the time.
    assert_eq!(other.event_of_member().await, (PresenceAction::Enter, "ada".into()));
    client.publish("c", 1, vec![Message::new("m", "after")]).await;
    assert_eq!(other.next_message().await.items[0].data, Data::from("after"));
}

#[tokio::test]
async fn nodes_with_another_secret_are_refused() {
    let mesh = Mesh::new();
    let start = |secret: Option<&str>| {
        let builder = Server::builder().key(KEY).engine(mesh.node() as Arc<dyn Engine>);
        match secret {
            Some(secret) => builder.cluster_secret(secret),
            None => builder,
        }
        .start()
    };
    let _first = start(Some("one")).await.unwrap();
    let _second = start(Some("one")).await.unwrap();
    for other in [Some("two"), None] {
        let problem = start(other).await.unwrap_err().to_string();
        assert!(problem.contains("secret: start"), "{problem}");
        assert!(!problem.contains("one") || !problem.contains("two"), "{problem}");
    }
}

#[tokio::test]
async fn nodes_without_a_key_agree_on_one() {
    let mesh = Mesh::new();
    let first = Server::builder().engine(mesh.node()).start().await.unwrap();
    let second = Server::builder().engine(mesh.node()).start().await.unwrap();
    assert_eq!(first.key(), second.key());
}

#[tokio::test]
async fn statistics_are_those_of_all_nodes() {
    let cluster = Cluster::of(3).await;
    let spec = json!({"keys": [{}]});
    let key = app(cluster.server(0), &spec).await.remove(0);
    let query = format!("key={key}");
    for (node, count) in [(0, 2), (1, 3)] {
        let mut client = Client::open(cluster.server(node), Format::Json, &query).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        for serial in 0..count {
            client.publish("c", serial, vec![Message::new("m", "data")]).await;
            client.ack().await;
        }
    }
    let posted = json!([{
        "intervalId": "2024-02-03:15:03",
        "inbound": {"realtime": {"messages": {"count": 50, "data": 5000}}},
    }]);
    let (answer, _) = ask(cluster.server(1), &key, Format::Json, "POST", "/stats", &posted).await;
    assert_eq!(answer.status, 201);
    // A node stores its statistics once a minute, and when it stops.
    cluster.server(0).shutdown().await;
    cluster.server(1).shutdown().await;
    let target = "/stats?unit=month";
    let (_, months) = ask(cluster.server(2), &key, Format::Json, "GET", target, &Value::Null).await;
    let [now, past] = &months.as_array().unwrap()[..] else { panic!("{months}") };
    for (name, expected) in [
        ("messages.inbound.realtime.messages.count", 5),
        ("connections.all.opened", 2),
        ("apiRequests.other.succeeded", 1),
    ] {
        assert_eq!(now["entries"][name], expected, "{name}");
    }
    assert_eq!(past["intervalId"], "2024-02");
    assert_eq!(past["entries"]["messages.inbound.realtime.messages.count"], 50);
}
