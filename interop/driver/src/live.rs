//! Operations that need a connection: changing messages, annotating messages, and listening to a channel.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use capably::{
    Annotation, Channel, ChannelMode, CipherParams, ClientOptions, Message, MessageOperation,
    Realtime, Str, realtime::RealtimeChannelOptions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{Outcome, Payload, Sent, Target, bad, message, message_value, payload, payload_value};

/// How long a listener waits for the requested messages and annotations.
const PATIENCE: Duration = Duration::from_secs(60);

/// The operations on a channel.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Work {
    channel: Target,
    client_id: Option<String>,
    #[serde(default)]
    modes: Vec<String>,
    rewind: Option<u32>,
    task: Task,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Task {
    /// Runs the steps in order, and returns the serials that they created.
    Steps(Vec<Step>),
    /// Prints a line once it listens. Returns the received items when both counts are reached.
    Listen { messages: usize, annotations: usize },
}

/// A step. It applies to the last published message, unless it contains a serial.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
enum Step {
    Publish(Sent),
    Update(Change),
    Delete(Change),
    Append(Change),
    Annotate(Annotated),
    Unannotate(Annotated),
}

#[derive(Deserialize)]
struct Change {
    serial: Option<String>,
    #[serde(default)]
    message: Sent,
    operation: Option<MessageOperation>,
}

#[derive(Deserialize)]
struct Annotated {
    serial: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    name: Option<String>,
    count: Option<u64>,
    data: Option<Payload>,
}

pub(crate) async fn run(mut options: ClientOptions, work: Work) -> Outcome {
    if let Some(client_id) = work.client_id {
        options = options.client_id(client_id);
    }
    let client = Realtime::connect(options).await?;
    let modes = work.modes.iter().filter_map(|name| ChannelMode::from_name(name));
    let mut options = RealtimeChannelOptions::new().modes(modes);
    if let Some(count) = work.rewind {
        options = options.param("rewind", count);
    }
    if let Some(key) = work.channel.cipher {
        options = options.cipher(CipherParams::from_base64(&key)?);
    }
    let channel = client.channels().get_with(work.channel.name, options);
    let outcome = match work.task {
        Task::Steps(steps) => take(&channel, steps).await,
        Task::Listen { messages, annotations } => {
            let listening = listen(&channel, messages, annotations);
            timeout(PATIENCE, listening).await.map_err(|_| bad("not all came".to_owned()))?
        }
    };
    client.close().await;
    outcome
}

async fn take(channel: &Channel, steps: Vec<Step>) -> Outcome {
    let mut last = None;
    let mut made = Vec::new();
    for step in steps {
        let serial = match step {
            Step::Publish(sent) => {
                let result = channel.publish_message(message(sent)?).await?;
                last = result.serials.into_iter().next().flatten();
                last.clone()
            }
            Step::Update(change) => {
                let (message, operation) = change.of(last.as_ref())?;
                let change = channel.update_message(message).operation(operation);
                change.await?.version_serial
            }
            Step::Delete(change) => {
                let (message, operation) = change.of(last.as_ref())?;
                let change = channel.delete_message(message).operation(operation);
                change.await?.version_serial
            }
            Step::Append(change) => {
                let (message, operation) = change.of(last.as_ref())?;
                let change = channel.append_message(message).operation(operation);
                change.await?.version_serial
            }
            Step::Annotate(annotated) => {
                let (serial, annotation) = annotated.of(last.as_ref())?;
                channel.annotations().publish(serial, annotation).await?;
                None
            }
            Step::Unannotate(annotated) => {
                let (serial, annotation) = annotated.of(last.as_ref())?;
                channel.annotations().delete(serial, annotation).await?;
                None
            }
        };
        made.push(serial);
    }
    Ok(json!(made))
}

impl Change {
    fn of(self, last: Option<&Str>) -> Result<(Message, MessageOperation), capably::Error> {
        let serial = self.serial.map(Into::into).or_else(|| last.cloned());
        let message = Message { serial, ..message(self.message)? };
        Ok((message, self.operation.unwrap_or_default()))
    }
}

impl Annotated {
    fn of(self, last: Option<&Str>) -> Result<(Str, Annotation), capably::Error> {
        let serial = self.serial.map(Into::into).or_else(|| last.cloned());
        let annotation = Annotation {
            annotation_type: Some(self.kind.into()),
            name: self.name.map(Into::into),
            count: self.count,
            data: payload(self.data)?,
            ..Annotation::default()
        };
        Ok((serial.unwrap_or_default(), annotation))
    }
}

async fn listen(channel: &Channel, messages: usize, annotations: usize) -> Outcome {
    let mut seen = (Vec::new(), Vec::new());
    let mut of_messages = channel.subscribe().await?;
    let mut of_annotations = match annotations {
        0 => None,
        _ => Some(channel.annotations().subscribe().await?),
    };
    let mut output = io::stdout();
    writeln!(output, "listening")
        .and_then(|()| output.flush())
        .map_err(|it| bad(it.to_string()))?;
    let ended = || bad("the subscription ended".to_owned());
    while seen.0.len() < messages {
        seen.0.push(change_value(&of_messages.next().await.ok_or_else(ended)?));
    }
    if let Some(of_annotations) = &mut of_annotations {
        while seen.1.len() < annotations {
            seen.1.push(annotation_value(&of_annotations.next().await.ok_or_else(ended)?));
        }
    }
    Ok(json!({ "messages": seen.0, "annotations": seen.1 }))
}

fn change_value(message: &Message) -> Value {
    let mut value = message_value(message);
    value["action"] = json!(message.action.map(|action| format!("{action:?}").to_lowercase()));
    value["version"] = json!(message.version());
    value["summary"] = json!(message.summary());
    value
}

fn annotation_value(annotation: &Annotation) -> Value {
    json!({
        "id": annotation.id,
        "action": annotation.action.map(|action| format!("{action:?}").to_lowercase()),
        "type": annotation.annotation_type,
        "name": annotation.name,
        "count": annotation.count,
        "data": payload_value(&annotation.data),
        "encoding": annotation.encoding,
        "clientId": annotation.client_id,
        "serial": annotation.serial,
        "messageSerial": annotation.message_serial,
        "timestamp": annotation.timestamp,
    })
}
