//! A service over HTTP that a test scripts.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use serde_json::Value;

use crate::support::Server;

/// An answer: its status, JSON, and the target of the next page.
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) next: Option<String>,
}

impl From<Value> for Page {
    fn from(body: Value) -> Self {
        Self { status: 200, body, next: None }
    }
}

/// Starts a service that answers each request by its target. It runs until the tests end.
pub(crate) fn serve(answer: impl Fn(&str) -> Page + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || respond(stream.unwrap(), &*answer));
        }
    });
    Server::at(port.into(), "app.key:secret-of-the-key")
}

/// Answers one request. The client may go away at any moment.
fn respond(stream: TcpStream, answer: &dyn Fn(&str) -> Page) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let lines = stream.by_ref().lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let target = head.first()?.split(' ').nth(1)?;
    let length = head
        .iter()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
    let Page { status, body, next } = answer(target);
    let (body, next) =
        (body.to_string(), next.map(|next| format!("Link: <{next}>; rel=\"next\"\r\n")));
    let (length, next) = (body.len(), next.unwrap_or_default());
    let head = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{next}Connection: close\r\n\r\n"
    );
    stream.get_mut().write_all((head + &body).as_bytes()).ok()
}
