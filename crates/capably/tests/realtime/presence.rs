//! Presence: the members of a channel (RTP).

mod channel_state;
mod enter;
mod get;
mod history;
mod payloads;
mod queue;
mod reentry;
mod subscribe;
mod sync;

use capably::{Channel, Error, PresenceAction, PresenceMessage};
use capably_protocol::{
    ClientFrame, Flags, ServerFrame,
    frame::{Delivery, Nack, Publish},
};
use tokio::task::JoinHandle;

use crate::support::*;

/// Something that a member did: `client` on the connection that the id begins with.
fn did(action: PresenceAction, client: &str, id: &str, data: &str) -> PresenceMessage {
    let (connection, _) = id.split_once(':').expect("ids begin with the connection");
    PresenceMessage {
        id: Some(id.into()),
        action: Some(action),
        client_id: Some(client.into()),
        connection_id: Some(connection.into()),
        data: data.into(),
        timestamp: Some(1000),
        ..PresenceMessage::default()
    }
}

/// A member as a sync delivers it.
fn present(client: &str, id: &str) -> PresenceMessage {
    did(PresenceAction::Present, client, id, "")
}

/// A PRESENCE.
fn presence(items: Vec<PresenceMessage>) -> ServerFrame {
    ServerFrame::Presence(Delivery::new("ch", items))
}

/// A SYNC with this `channelSerial`.
fn sync(serial: &str, items: Vec<PresenceMessage>) -> ServerFrame {
    let mut delivery = Delivery::new("ch", items);
    delivery.channel_serial = Some(serial.into());
    ServerFrame::Sync(delivery)
}

/// An ATTACHED with the flag of a sync.
fn attached_with_presence() -> ServerFrame {
    attached_with("ch", |attached| attached.flags = Flags::HAS_PRESENCE)
}

/// Answers an ATTACH, and sends the present members.
async fn answer_attach(peer: &mut Peer, members: Vec<PresenceMessage>) {
    peer.expect_attach("ch").await;
    peer.send(attached_with_presence());
    peer.send(sync("seq1:", members));
}

/// Attaches the channel, which has these members.
async fn attach_to(channel: &Channel, peer: &mut Peer, members: Vec<PresenceMessage>) {
    let (result, ()) = tokio::join!(channel.attach(), answer_attach(peer, members));
    result.unwrap();
}

/// Awaits a PRESENCE of the client.
async fn said(peer: &mut Peer) -> Publish<PresenceMessage> {
    match peer.receive().await {
        Some(ClientFrame::Presence(publish)) => {
            assert_eq!((&*publish.channel, publish.items.len()), ("ch", 1));
            publish
        }
        other => panic!("not a PRESENCE: {other:?}"),
    }
}

/// Awaits a PRESENCE, and accepts it.
async fn accept(peer: &mut Peer) -> PresenceMessage {
    let publish = said(peer).await;
    peer.send(ack(publish.msg_serial, 1));
    publish.items[0].clone()
}

/// Awaits a PRESENCE, accepts it, and delivers it to the client as the service does. The member is `client`, unless
/// the frame has a client id.
async fn echo(peer: &mut Peer, connection: &str, client: &str) -> PresenceMessage {
    let publish = said(peer).await;
    peer.send(ack(publish.msg_serial, 1));
    let item = publish.items[0].clone();
    peer.send(presence(vec![PresenceMessage {
        id: Some(format!("{connection}:{}:0", publish.msg_serial).into()),
        client_id: item.client_id.clone().or(Some(client.into())),
        connection_id: Some(connection.into()),
        timestamp: Some(1000),
        ..item.clone()
    }]));
    item
}

/// A NACK of one frame.
fn nack(msg_serial: u64, code: u32, status: u16) -> ServerFrame {
    ServerFrame::Nack(Nack { msg_serial, count: 1, error: Some(info(code, status)) })
}

/// The clients of these members.
fn clients(members: &[PresenceMessage]) -> Vec<&str> {
    members.iter().map(|member| member.client_id.as_deref().unwrap()).collect()
}

/// Enters in a separate task.
fn entering(channel: &Channel, data: &'static str) -> JoinHandle<Result<(), Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.presence().enter().data(data).await })
}

/// Updates in a separate task.
fn updating(channel: &Channel, data: &'static str) -> JoinHandle<Result<(), Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.presence().update().data(data).await })
}

/// Requests the present members in a separate task.
fn asking(channel: &Channel) -> JoinHandle<Result<Vec<PresenceMessage>, Error>> {
    let channel = channel.clone();
    tokio::spawn(async move { channel.presence().get().await })
}
