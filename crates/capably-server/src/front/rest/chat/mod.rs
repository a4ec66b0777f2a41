//! The REST interface of chat: rooms over the channels that are named after them.
//!
//! A room is the channel `{room}::$chat`, and a chat message is a message of it with the name `chat.message`. Reactions are
//! annotations.

mod body;
mod message;

use capably_protocol::{
    Annotation, AnnotationAction, Capability, ErrorInfo, Message, MessageAction, Str,
};
use hyper::StatusCode;
use serde_json::json;

use self::{
    body::{Change, Content, Reaction},
    message::{NAME, chat_message, reactions_of},
};
use super::{call::Call, page};
use crate::{
    front::{app::AppHandle, http::reply::Reply},
    hub::{
        HistoryQuery, Page,
        auth::{Client, Identity},
        error,
    },
};

/// A request to a room.
pub(super) struct Room<'a> {
    call: &'a Call<'a>,
    app: &'a AppHandle,
    identity: &'a Identity,
    channel: Str,
}

impl<'a> Room<'a> {
    /// # Errors
    /// Code 40010 for an empty name.
    pub(super) fn new(
        call: &'a Call<'a>,
        app: &'a AppHandle,
        identity: &'a Identity,
        name: &str,
    ) -> Result<Self, ErrorInfo> {
        if name.is_empty() {
            return Err(error::bad_channel_name("the name of the room is empty"));
        }
        let channel = format!("{name}{}", crate::hub::CHAT_SUFFIX).into();
        Ok(Self { call, app, identity, channel })
    }
}

/// `POST /chat/v4/rooms/{room}/messages`.
///
/// # Errors
/// Code 40000 for a body that is not a chat message, 40012 without a client id, and those of a publish.
pub(super) async fn send(room: &Room<'_>) -> Result<Reply, ErrorInfo> {
    let Room { call, app, identity, channel } = room;
    require_client(identity)?;
    let content = Content::read(call.decode_object()?)?;
    call.count_messages(1);
    let message = Message { id: idempotency_key(call), ..content.into_message() };
    let accepted = app
        .commit(|hub, outputs| hub.publish(identity, channel, vec![message], call.now, outputs))
        .await?;
    let serial = accepted.position.message_serial(0);
    reply_message(room, &serial, StatusCode::CREATED).await
}

/// `GET /chat/v4/rooms/{room}/messages`.
///
/// # Errors
/// As the history of a channel.
pub(super) async fn history(room: &Room<'_>) -> Result<Reply, ErrorInfo> {
    let Room { call, app, identity, channel } = room;
    let from_serial = call.query.get("fromSerial").map(Str::from);
    let query = HistoryQuery { page: page::of_the_past(call.query, call.now.wall)?, from_serial };
    let found = app.history(identity, channel, &query, call.now).await?;
    Ok(reply_messages(call, &query.page, &found))
}

/// `GET /chat/v4/rooms/{room}/messages/{serial}`.
///
/// # Errors
/// Code 40400 for an unknown message, and those of reading a channel.
pub(super) async fn get(room: &Room<'_>, serial: &str) -> Result<Reply, ErrorInfo> {
    let Room { call, app, identity, channel } = room;
    let message = app.message(identity, channel, serial, call.now).await?;
    let message = chat_message(&message).ok_or_else(error::unknown_message)?;
    Ok(call.reply(StatusCode::OK, &message))
}

/// `GET /chat/v4/rooms/{room}/messages/{serial}/versions`.
///
/// # Errors
/// As [`get`].
pub(super) async fn versions(room: &Room<'_>, serial: &str) -> Result<Reply, ErrorInfo> {
    let Room { call, app, identity, channel } = room;
    let query = page::oldest_first(call.query)?;
    let found = app.versions(identity, channel, serial, &query, call.now).await?;
    Ok(reply_messages(call, &query, &found))
}

/// `PUT /chat/v4/rooms/{room}/messages/{serial}`: all fields are replaced, and those that the body leaves out are emptied.
///
/// # Errors
/// Code 40000 for a body that is not an update, and those of changing a message.
pub(super) async fn update(room: &Room<'_>, serial: &str) -> Result<Reply, ErrorInfo> {
    let Room { call, .. } = room;
    let change = Change::read_update(call.decode_object()?)?;
    apply(room, serial, change, MessageAction::Update).await
}

/// `POST /chat/v4/rooms/{room}/messages/{serial}/delete`: the message stays, without its content.
///
/// # Errors
/// As [`update`].
pub(super) async fn delete(room: &Room<'_>, serial: &str) -> Result<Reply, ErrorInfo> {
    let Room { call, .. } = room;
    let is_empty = call.body().is_ok_and(|body| body.is_empty());
    let change =
        if is_empty { Change::default() } else { Change::read_delete(call.decode_object()?)? };
    apply(room, serial, change, MessageAction::Delete).await
}

/// `DELETE /chat/v4/rooms/{room}/messages/{serial}`: as [`delete`], without a body.
///
/// # Errors
/// As [`update`].
pub(super) async fn remove(room: &Room<'_>, serial: &str) -> Result<Reply, ErrorInfo> {
    let change = Change::default();
    apply(room, serial, change, MessageAction::Delete).await
}

async fn apply(
    room: &Room<'_>,
    serial: &str,
    change: Change,
    action: MessageAction,
) -> Result<Reply, ErrorInfo> {
    let Room { call, app, identity, channel } = room;
    require_client(identity)?;
    call.count_messages(1);
    let Change { content, version } = change;
    let message = Message {
        id: idempotency_key(call),
        serial: Some(serial.into()),
        action: Some(action),
        version: Some(Box::new(version)),
        ..content.into_message()
    };
    app.commit_about(channel, serial, |hub, outputs| {
        hub.change(identity, channel, message, call.now, outputs)
    })
    .await?;
    reply_message(room, serial, StatusCode::OK).await
}

/// `POST /chat/v4/rooms/{room}/messages/{serial}/reactions`.
///
/// # Errors
/// Code 40000 for a reaction that is not valid, and those of annotating a message.
pub(super) async fn react(room: &Room<'_>, serial: &str) -> Result<Reply, ErrorInfo> {
    let Room { call, .. } = room;
    let reaction = Reaction::read(call.decode_object()?)?;
    let annotation = reaction.annotation(AnnotationAction::Create)?;
    let serial = annotate(room, serial, annotation).await?;
    Ok(call.reply(StatusCode::CREATED, &json!({ "serial": &*serial })))
}

/// `DELETE /chat/v4/rooms/{room}/messages/{serial}/reactions?type=…&name=…`.
///
/// # Errors
/// As [`react`].
pub(super) async fn unreact(room: &Room<'_>, serial: &str) -> Result<Reply, ErrorInfo> {
    let Room { call, .. } = room;
    let text = |name| call.query.get(name).map(str::to_owned);
    let reaction = Reaction::new(text("type"), text("name"), None)?;
    let annotation = reaction.annotation(AnnotationAction::Delete)?;
    let serial = annotate(room, serial, annotation).await?;
    Ok(call.reply(StatusCode::OK, &json!({ "serial": &*serial })))
}

async fn annotate(room: &Room<'_>, serial: &str, annotation: Annotation) -> Result<Str, ErrorInfo> {
    let Room { call, app, identity, channel } = room;
    require_client(identity)?;
    call.count_messages(1);
    let accepted = app
        .commit_about(channel, serial, |hub, outputs| {
            hub.annotate(identity, channel, serial, vec![annotation], call.now, outputs)
        })
        .await?;
    Ok(accepted.position.message_serial(0))
}

/// `GET /chat/v4/rooms/{room}/messages/{serial}/client-reactions?forClientId=…`: the reactions of one client, the caller by
/// default.
///
/// # Errors
/// As [`get`], and code 40003 when there is no client id.
pub(super) async fn client_reactions(room: &Room<'_>, serial: &str) -> Result<Reply, ErrorInfo> {
    let Room { call, app, identity, channel } = room;
    let client = call.query.get("forClientId").map(Str::from);
    let client = client.or_else(|| identity.client.name().cloned());
    let client = client.ok_or_else(|| {
        error::bad_parameter("`forClientId` is missing, and the request has no clientId")
    })?;
    let message = app.message(identity, channel, serial, call.now).await?;
    Ok(call.reply(StatusCode::OK, &reactions_of(&message, Some(&client))))
}

/// `GET /chat/v4/rooms/{room}/occupancy`.
///
/// # Errors
/// As the status of a channel.
pub(super) async fn occupancy(room: &Room<'_>) -> Result<Reply, ErrorInfo> {
    let Room { call, app, identity, channel } = room;
    let occupancy = app.with(|hub, _| hub.occupancy(identity, channel))?;
    let body = json!({
        "connections": occupancy.connections,
        "presenceMembers": occupancy.presence_members,
    });
    Ok(call.reply(StatusCode::OK, &body))
}

/// Chat needs to know who somebody is.
fn require_client(identity: &Identity) -> Result<(), ErrorInfo> {
    if identity.client.name().is_some() {
        return Ok(());
    }
    Err(error::bad_client_id(
        "chat needs a clientId: that of the token, or the header X-Ably-ClientId with a key",
    ))
}

fn idempotency_key(call: &Call<'_>) -> Option<Str> {
    call.query.get("idempotencyKey").filter(|key| !key.is_empty()).map(Str::from)
}

/// Replies with a message as it is now. Who may send it may see it, even without the right to read the history.
async fn reply_message(
    room: &Room<'_>,
    serial: &str,
    status: StatusCode,
) -> Result<Reply, ErrorInfo> {
    let Room { call, app, identity, channel } = room;
    let reader = Identity {
        capability: Capability::all().into(),
        client: Client::Any,
        key_id: identity.key_id.clone(),
        token: None,
    };
    let message = app.message(&reader, channel, serial, call.now).await?;
    let message = chat_message(&message).ok_or_else(error::unknown_message)?;
    Ok(call.reply(status, &message))
}

fn reply_messages(call: &Call<'_>, query: &crate::hub::PageQuery, found: &Page<Message>) -> Reply {
    let of_chat = found.items.iter().filter(|it| it.name.as_deref() == Some(NAME));
    let items: Vec<_> = of_chat.filter_map(chat_message).collect();
    call.link_pages(call.reply(StatusCode::OK, &items), query, found.next.as_deref())
}
