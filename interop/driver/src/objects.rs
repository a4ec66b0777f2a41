//! Our client of the objects of a channel as a program.
//!
//! The first line of standard input contains the options as JSON. Each later line contains a command with a number as
//! JSON. The program prints a line of JSON with this number for the end of each command, and a line for each change that a
//! subscription reports. Commands start in order, and do not wait for each other. The program ends at the end of its input.

use std::{
    collections::BTreeMap,
    error::Error as StdError,
    fs, io,
    rc::Rc,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use capably::{
    ChannelMode, ClientOptions, Error, Realtime,
    realtime::{
        RealtimeChannelOptions,
        objects::{
            Instance, LiveCounter, LiveMap, LiveValue, ObjectValue, ObjectWrite, PathChange,
            PathObject, PathSubscription, RealtimeObjects,
        },
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Mutex, task::LocalSet};

use crate::{
    Outcome, bad,
    realtime::{lines, say},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    endpoint: String,
    port: u16,
    format: String,
    key: String,
    client_id: Option<String>,
    channel: String,
    /// In ms.
    disconnected_retry_timeout: u64,
}

#[derive(Deserialize)]
struct Numbered {
    number: u64,
    command: Command,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
enum Command {
    /// Attaches the channel. Returns the time until the objects are in sync.
    Get,
    Write(Write),
    Batch {
        writes: Vec<Write>,
    },
    /// Returns the value with all that is below it.
    Read {
        path: String,
    },
    /// Returns the leaf, with its type.
    Leaf {
        path: String,
    },
    /// Keeps the object, for the command `writeHeld`.
    Hold {
        path: String,
    },
    WriteHeld {
        #[serde(flatten)]
        change: Change,
    },
    /// Prints the changes from this moment on.
    Subscribe {
        path: String,
        depth: Option<usize>,
    },
    /// Waits until the path has this value. Returns the time that it took. Only changes at `watch` and below it are noticed.
    Until {
        path: String,
        equals: Value,
        #[serde(default)]
        watch: String,
    },
}

#[derive(Deserialize)]
struct Write {
    path: String,
    #[serde(flatten)]
    change: Change,
}

#[derive(Deserialize)]
#[serde(tag = "change", rename_all = "camelCase")]
enum Change {
    Set { key: String, value: Sent },
    Remove { key: String },
    Clear,
    Increment { amount: f64 },
}

/// A value with an explicit type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Sent {
    Json(Value),
    Base64(String),
    Map(BTreeMap<String, Sent>),
    Counter(f64),
}

/// The state that the commands share.
struct Program {
    objects: RealtimeObjects,
    root: Mutex<Option<PathObject>>,
    held: Mutex<Option<Instance>>,
}

pub(crate) async fn run() -> Result<(), Box<dyn StdError>> {
    let mut lines = lines();
    let settings = lines.recv().await.ok_or("there are no settings")?;
    let settings: Settings = serde_json::from_str(&settings)?;
    let modes = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
    let channel_options = RealtimeChannelOptions::new().modes(modes);
    let name = settings.channel.clone();
    let client = Realtime::connect(options(settings)).await?;
    let channel = client.channels().get_with(name, channel_options);
    let program = Rc::new(Program {
        objects: channel.objects(),
        root: Mutex::default(),
        held: Mutex::default(),
    });
    say(&json!({ "connected": client.connection().id() }));
    let commands = async {
        while let Some(line) = lines.recv().await {
            let Numbered { number, command } = serde_json::from_str(&line)?;
            let program = Rc::clone(&program);
            tokio::task::spawn_local(async move {
                let told = match program.run(command).await {
                    Ok(value) => json!({ "number": number, "ok": value }),
                    Err(error) => json!({ "number": number, "error": error.code().0 }),
                };
                say(&told);
            });
        }
        Ok::<_, Box<dyn StdError>>(())
    };
    LocalSet::new().run_until(commands).await?;
    client.close().await;
    Ok(())
}

fn options(settings: Settings) -> ClientOptions {
    let retry = Duration::from_millis(settings.disconnected_retry_timeout);
    let options = ClientOptions::new(settings.key)
        .endpoint(settings.endpoint)
        .port(settings.port)
        .tls(false)
        .use_binary_protocol(settings.format == "msgpack")
        .disconnected_retry_timeout(retry);
    match settings.client_id {
        Some(client_id) => options.client_id(client_id),
        None => options,
    }
}

impl Program {
    async fn run(&self, command: Command) -> Outcome {
        match command {
            Command::Get => {
                let start = Spent::now()?;
                let root = self.objects.get().await?;
                let spent = start.until_now()?;
                *self.root.lock().await = Some(root);
                Ok(spent)
            }
            Command::Write(write) => {
                write.of(&self.root().await?)?.await?;
                Ok(Value::Null)
            }
            Command::Batch { writes } => {
                let root = self.root().await?;
                let writes = writes.into_iter().map(|write| write.of(&root));
                self.objects.batch(writes.collect::<Result<Vec<_>, _>>()?).await?;
                Ok(Value::Null)
            }
            Command::Read { path } => Ok(json!(self.at(&path).await?.compact_json()?)),
            Command::Leaf { path } => Ok(leaf(self.at(&path).await?.value()?)),
            Command::Hold { path } => {
                let instance = self.at(&path).await?.instance()?;
                let id = instance.as_ref().and_then(|instance| instance.id().cloned());
                *self.held.lock().await = instance;
                Ok(json!(id))
            }
            Command::WriteHeld { change } => {
                let held = self.held.lock().await.clone();
                change.of_instance(&held.ok_or_else(|| bad("nothing is held".into()))?)?.await?;
                Ok(Value::Null)
            }
            Command::Subscribe { path, depth } => {
                let mut subscription = self.at(&path).await?.subscribe();
                if let Some(levels) = depth {
                    subscription = subscription.depth(levels);
                }
                tokio::task::spawn_local(print(subscription.listen()?));
                Ok(Value::Null)
            }
            Command::Until { path, equals, watch } => {
                let start = Spent::now()?;
                let root = self.root().await?;
                let mut changes = at(&root, &watch).subscribe().listen()?;
                let place = at(&root, &path);
                let expected = (!equals.is_null()).then_some(equals);
                while place.compact_json()? != expected {
                    if changes.next().await.is_none() {
                        return Err(bad("the subscription ended".into()));
                    }
                }
                start.until_now()
            }
        }
    }

    async fn root(&self) -> Result<PathObject, Error> {
        self.root.lock().await.clone().ok_or_else(|| bad("`get` has not ended".into()))
    }

    async fn at(&self, path: &str) -> Result<PathObject, Error> {
        Ok(at(&self.root().await?, path))
    }
}

/// The place at this path; the root if the path is empty.
fn at(root: &PathObject, path: &str) -> PathObject {
    if path.is_empty() { root.clone() } else { root.at(path) }
}

impl Write {
    fn of(self, root: &PathObject) -> Result<ObjectWrite, Error> {
        let place = at(root, &self.path);
        Ok(match self.change {
            Change::Set { key, value } => place.set(key, value.live()?),
            Change::Remove { key } => place.remove(key),
            Change::Clear => place.clear(),
            Change::Increment { amount } => place.increment(amount),
        })
    }
}

impl Change {
    fn of_instance(self, instance: &Instance) -> Result<ObjectWrite, Error> {
        Ok(match self {
            Self::Set { key, value } => instance.set(key, value.live()?),
            Self::Remove { key } => instance.remove(key),
            Self::Clear => instance.clear(),
            Self::Increment { amount } => instance.increment(amount),
        })
    }
}

impl Sent {
    fn live(self) -> Result<LiveValue, Error> {
        Ok(match self {
            Self::Json(value) => value.into(),
            Self::Base64(text) => {
                BASE64_STANDARD.decode(text).map_err(|error| bad(error.to_string()))?.into()
            }
            Self::Map(entries) => {
                let entries = entries.into_iter().map(|(key, value)| Ok((key, value.live()?)));
                entries.collect::<Result<LiveMap, Error>>()?.into()
            }
            Self::Counter(count) => LiveCounter::new(count).into(),
        })
    }
}

fn leaf(value: Option<ObjectValue>) -> Value {
    match value {
        None => Value::Null,
        Some(ObjectValue::Boolean(value)) => json!({ "boolean": value }),
        Some(ObjectValue::Bytes(bytes)) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
        Some(ObjectValue::Number(number)) => json!({ "number": number }),
        Some(ObjectValue::String(text)) => json!({ "text": text }),
        Some(ObjectValue::Json(value)) => json!({ "json": value }),
    }
}

async fn print(mut changes: PathSubscription) {
    while let Some(PathChange { object, message, .. }) = changes.next().await {
        let message = message.map(|message| {
            json!({
                "action": message.operation.action,
                "clientId": message.client_id,
                "connectionId": message.connection_id,
                "channel": message.channel,
                "hasSerial": message.serial.is_some() && message.site_code.is_some(),
            })
        });
        say(&json!({ "change": { "path": object.path().to_string(), "message": message } }));
    }
}

/// The CPU time that the process has used, and the time of the clock.
struct Spent {
    cpu: Duration,
    wall: Instant,
}

impl Spent {
    fn now() -> Result<Self, Error> {
        let cpu = cpu_time().map_err(|error| bad(format!("cannot read the CPU time: {error}")))?;
        Ok(Self { cpu, wall: Instant::now() })
    }

    /// The CPU time and the time that have passed since then, in ms.
    fn until_now(self) -> Outcome {
        let now = Self::now()?;
        let cpu = now.cpu.saturating_sub(self.cpu).as_secs_f64() * 1e3;
        Ok(json!({ "cpu": cpu, "wall": (now.wall - self.wall).as_secs_f64() * 1e3 }))
    }
}

/// The CPU time of all threads, of Linux. `/proc/self/stat` counts in steps of 10 ms, which is too coarse here.
fn cpu_time() -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let times = fs::read_to_string(thread?.path().join("schedstat"))?;
        let on_cpu = times.split(' ').next().and_then(|field| field.parse::<u64>().ok());
        nanoseconds += on_cpu.ok_or(io::ErrorKind::InvalidData)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
