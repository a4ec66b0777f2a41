//! A bare reader of event streams.

use capably_server::Server;
use serde_json::Value;
use tokio::{io::AsyncReadExt, time::timeout};

use super::{Answer, Http, PATIENCE};

/// An event, as a client of server-sent events would dispatch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamEvent {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl StreamEvent {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|why| panic!("{why}: {}", self.data))
    }
}

pub(crate) struct EventStream {
    http: Http,
    head: Answer,
    /// The text of the stream that was not read yet, without the chunks around it.
    text: String,
    ended: bool,
}

impl EventStream {
    pub(crate) async fn open(server: &Server, target: &str, headers: &[String]) -> Self {
        let mut http = Http::connect(server).await;
        let head = http.request("GET", target, headers, b"").await;
        assert_eq!(head.status, 200, "{head:?}");
        Self { http, head, text: String::new(), ended: false }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn http(&mut self) -> &mut Http {
        &mut self.http
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> StreamEvent {
        let event = async {
            loop {
                let block = self.block().await.expect("the stream has ended");
                let event = parse(&block);
                if !event.name.is_empty() {
                    return event;
                }
            }
        };
        // Keepalives are no events.
        timeout(2 * PATIENCE, event).await.expect("no event arrived")
    }

    /// The next event, which has this name.
    pub(crate) async fn event_named(&mut self, name: &str) -> StreamEvent {
        let event = self.event().await;
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// The next event that has not this name.
    pub(crate) async fn skip(&mut self, name: &str) -> StreamEvent {
        loop {
            let event = self.event().await;
            if event.name != name {
                return event;
            }
        }
    }

    /// The id that the stream begins with.
    pub(crate) async fn first_id(&mut self) -> String {
        let block = self.block().await.expect("the stream has ended");
        let event = parse(&block);
        assert_eq!((&*event.name, &*event.data), ("", ""));
        event.id.expect("the stream begins with an id")
    }

    /// The next line of JSON with this event.
    pub(crate) async fn line_of(&mut self, event: &str) -> Value {
        loop {
            let line = self.until("\n").await.expect("the stream has ended");
            if line.is_empty() {
                continue;
            }
            let value: Value = serde_json::from_str(&line).unwrap();
            if value["event"] == event {
                return value;
            }
        }
    }

    /// Waits until the stream has this text, which is read with all that was before it.
    pub(crate) async fn text_of(&mut self, text: &str) {
        self.until(text).await.expect("the stream has ended");
    }

    /// Waits for the end of the stream, before which there is no other event.
    pub(crate) async fn end(&mut self) {
        while let Some(block) = self.block().await {
            assert_eq!(parse(&block).name, "", "{block}");
        }
    }

    async fn block(&mut self) -> Option<String> {
        self.until("\n\n").await
    }

    async fn until(&mut self, end: &str) -> Option<String> {
        let read = async {
            loop {
                if let Some(at) = self.text.find(end) {
                    let rest = self.text.split_off(at + end.len());
                    let mut text = std::mem::replace(&mut self.text, rest);
                    text.truncate(at);
                    return Some(text);
                }
                if self.ended {
                    return None;
                }
                self.read_chunk().await;
            }
        };
        timeout(PATIENCE, read).await.expect("nothing arrived")
    }

    async fn read_chunk(&mut self) {
        let line = loop {
            if let Some(at) = self.http.buffer.windows(2).position(|it| it == b"\r\n") {
                break at;
            }
            self.read_more().await;
        };
        let size = std::str::from_utf8(&self.http.buffer[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let end = line + 2 + size;
        while self.http.buffer.len() < end + 2 {
            self.read_more().await;
        }
        let chunk = std::str::from_utf8(&self.http.buffer[line + 2..end]).unwrap();
        self.text.push_str(chunk);
        self.http.buffer.drain(..end + 2);
        self.ended = size == 0;
    }

    async fn read_more(&mut self) {
        let read = self.http.stream.read_buf(&mut self.http.buffer).await.unwrap();
        assert!(read > 0, "the connection was cut in the middle of a stream");
    }
}

fn parse(block: &str) -> StreamEvent {
    let mut event = StreamEvent { id: None, name: String::new(), data: String::new() };
    let mut data: Vec<&str> = Vec::new();
    for line in block.lines() {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("id", id) => event.id = Some(id.to_owned()),
            ("event", name) => event.name = name.to_owned(),
            ("data", text) => data.push(text),
            _ => assert!(line.starts_with(':'), "{line:?}"),
        }
    }
    event.data = data.join("\n");
    event
}
