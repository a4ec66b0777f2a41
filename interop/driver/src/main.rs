//! Our clients, driven by the interop tests.
//!
//! Without arguments, the program reads a request as JSON from standard input and carries it out. Requests in
//! [`live`] use a connection, all others use REST. The program prints the result as JSON: `{"ok": …}` or
//! `{"error": …}`. With the argument `realtime`, it runs the [realtime client](realtime), and with the argument `objects` the
//! [client of objects](objects). Both read commands line by line.

use std::{env, error::Error as StdError, io, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use capably::{
    BatchFailure, BatchPublishSpec, CipherParams, ClientOptions, Data, Error, JsonObject, Message,
    PresenceMessage, Rest, TokenParams, TokenRequest,
    rest::{ChannelOptions, Direction, RestChannel},
};
use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

mod live;
mod objects;
mod realtime;

/// The operation, and the credentials.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    endpoint: String,
    port: u16,
    format: String,
    key: Option<String>,
    token: Option<String>,
    token_request: Option<Value>,
    work: Work,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Work {
    Publish { channel: Target, messages: Vec<Sent> },
    History { channel: Target, limit: u32 },
    Presence { channel: Target, limit: u32 },
    PresenceHistory { channel: Target, limit: u32 },
    BatchPublish { specs: Vec<Spec> },
    BatchPresence { channels: Vec<String> },
    RequestToken { params: Params },
    CreateTokenRequest { params: Params },
    Live(live::Work),
}

/// A channel, and the key that encrypts its payloads, if it has a cipher.
#[derive(Deserialize)]
struct Target {
    name: String,
    cipher: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    id: Option<String>,
    name: Option<String>,
    client_id: Option<String>,
    extras: Option<JsonObject>,
    data: Option<Payload>,
}

/// A payload with an explicit type, so that the tests cannot confuse text, bytes and JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Payload {
    Text(String),
    Base64(String),
    Json(Value),
}

#[derive(Deserialize)]
struct Spec {
    channels: Vec<String>,
    messages: Vec<Sent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    ttl: Option<u64>,
    capability: Option<Value>,
    client_id: Option<String>,
}

type Outcome = Result<Value, Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    match env::args().nth(1).as_deref() {
        Some("realtime") => return realtime::run().await,
        Some("objects") => return objects::run().await,
        Some(_) | None => {}
    }
    let Request { endpoint, port, format, key, token, token_request, work } =
        serde_json::from_reader(io::stdin())?;
    let mut options = ClientOptions::default()
        .endpoint(endpoint)
        .port(port)
        .tls(false)
        .use_binary_protocol(format == "msgpack");
    if let Some(key) = key {
        options = options.key(key);
    }
    if let Some(token) = token {
        options = options.token(token);
    }
    if let Some(request) = token_request {
        options = options.token_request(TokenRequest::from_value(request)?);
    }
    let said = match run(options, work).await {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": error_value(error.code().0, error.status()) }),
    };
    serde_json::to_writer(io::stdout(), &said)?;
    Ok(())
}

async fn run(options: ClientOptions, work: Work) -> Outcome {
    let rest = &Rest::new(options.clone())?;
    match work {
        Work::Publish { channel, messages } => {
            let result = target(rest, channel)?.publish_messages(all(messages)?).await?;
            Ok(json!(result.serials))
        }
        Work::History { channel, limit } => {
            let history = target(rest, channel)?.history();
            let page = history.direction(Direction::Forwards).limit(limit).await?;
            let messages: Vec<_> = page.items_stream().try_collect().await?;
            Ok(messages.iter().map(message_value).collect())
        }
        Work::Presence { channel, limit } => {
            let page = target(rest, channel)?.presence().get().limit(limit).await?;
            let members: Vec<_> = page.items_stream().try_collect().await?;
            Ok(members.iter().map(member_value).collect())
        }
        Work::PresenceHistory { channel, limit } => {
            let history = target(rest, channel)?.presence().history();
            let page = history.direction(Direction::Forwards).limit(limit).await?;
            let events: Vec<_> = page.items_stream().try_collect().await?;
            Ok(events.iter().map(member_value).collect())
        }
        Work::BatchPublish { specs } => {
            let specs = specs
                .into_iter()
                .map(|spec| Ok(BatchPublishSpec::new(spec.channels, all(spec.messages)?)));
            let results = rest.batch_publish_all(specs.collect::<Result<Vec<_>, Error>>()?).await?;
            let value = |result: &capably::BatchResult<_>| {
                let outcomes = result.results.iter().map(|outcome| match outcome {
                    Ok::<capably::BatchPublished, _>(done) => json!({
                        "channel": done.channel,
                        "serials": done.serials,
                    }),
                    Err(failure) => failure_value(failure),
                });
                counted(result.success_count, result.failure_count, outcomes.collect())
            };
            Ok(results.iter().map(value).collect())
        }
        Work::BatchPresence { channels } => {
            let result = rest.batch_presence(channels).await?;
            let outcomes = result.results.iter().map(|outcome| match outcome {
                Ok(found) => json!({
                    "channel": found.channel,
                    "presence": found.presence.iter().map(member_value).collect::<Value>(),
                }),
                Err(failure) => failure_value(failure),
            });
            Ok(counted(result.success_count, result.failure_count, outcomes.collect()))
        }
        Work::RequestToken { params } => {
            let details = rest.auth().request_token().params(token_params(params)).await?;
            Ok(json!(details))
        }
        Work::CreateTokenRequest { params } => {
            let request = rest.auth().create_token_request().params(token_params(params)).await?;
            Ok(json!(request))
        }
        Work::Live(work) => live::run(options, work).await,
    }
}

fn target(rest: &Rest, Target { name, cipher }: Target) -> Result<RestChannel, Error> {
    let mut options = ChannelOptions::default();
    if let Some(key) = cipher {
        options = options.cipher(CipherParams::from_base64(&key)?);
    }
    Ok(rest.channels().get_with(name, options))
}

fn all(messages: Vec<Sent>) -> Result<Vec<Message>, Error> {
    messages.into_iter().map(message).collect()
}

fn message(sent: Sent) -> Result<Message, Error> {
    let Sent { id, name, client_id, extras, data } = sent;
    Ok(Message {
        id: id.map(Into::into),
        name: name.map(Into::into),
        client_id: client_id.map(Into::into),
        extras,
        data: payload(data)?,
        ..Message::default()
    })
}

fn payload(data: Option<Payload>) -> Result<Data, Error> {
    Ok(match data {
        None => Data::None,
        Some(Payload::Text(text)) => text.into(),
        Some(Payload::Json(value)) => value.into(),
        Some(Payload::Base64(text)) => {
            let bytes = BASE64_STANDARD.decode(text);
            Data::Binary(bytes.map_err(|error| bad(error.to_string()))?.into())
        }
    })
}

fn bad(message: String) -> Error {
    Error::new(capably::ErrorCode::BAD_REQUEST, 400, message)
}

fn token_params(Params { ttl, capability, client_id }: Params) -> TokenParams {
    let mut params = TokenParams::new();
    if let Some(ttl) = ttl {
        params = params.ttl(Duration::from_millis(ttl));
    }
    if let Some(capability) = capability {
        params = params.capability(capability.to_string());
    }
    if let Some(client_id) = client_id {
        params = params.client_id(client_id);
    }
    params
}

fn payload_value(data: &Data) -> Value {
    match data {
        Data::None => Value::Null,
        Data::Text(text) => json!({ "text": text }),
        Data::Binary(bytes) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
        Data::Json(value) => json!({ "json": value }),
    }
}

fn message_value(message: &Message) -> Value {
    json!({
        "id": message.id,
        "name": message.name,
        "data": payload_value(&message.data),
        "encoding": message.encoding,
        "clientId": message.client_id,
        "extras": message.extras,
        "timestamp": message.timestamp,
        "serial": message.serial,
    })
}

fn member_value(member: &PresenceMessage) -> Value {
    json!({
        "id": member.id,
        "action": member.action.map(|action| format!("{action:?}").to_lowercase()),
        "clientId": member.client_id,
        "connectionId": member.connection_id,
        "data": payload_value(&member.data),
        "encoding": member.encoding,
        "timestamp": member.timestamp,
    })
}

fn counted(successes: u32, failures: u32, results: Value) -> Value {
    json!({ "successCount": successes, "failureCount": failures, "results": results })
}

fn failure_value(BatchFailure { channel, error }: &BatchFailure) -> Value {
    json!({ "channel": channel, "error": error_value(error.code.0, Some(error.status_code)) })
}

fn error_value(code: u32, status: Option<u16>) -> Value {
    json!({ "code": code, "statusCode": status })
}
