//! The server, as the command `capably serve`, and its faults.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use capably::ClientOptions;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) struct Service {
    child: Child,
    port: u16,
    key: String,
    control: String,
    metrics: String,
    faults: AtomicUsize,
}

impl Service {
    pub(crate) fn start(command: &str) -> Self {
        let mut serve = Command::new(command);
        serve.args(["serve", "--port", "0", "--control", "0", "--json", "--no-console"]);
        let mut child = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let port = line["port"].as_u64().unwrap() as u16;
        let metrics = line["metrics"].as_str();
        Self {
            child,
            port,
            key: line["key"].as_str().unwrap().to_owned(),
            control: format!("127.0.0.1:{}", line["control"]),
            metrics: metrics.map_or_else(|| format!("127.0.0.1:{port}"), str::to_owned),
            faults: AtomicUsize::new(0),
        }
    }

    /// Half of the clients use JSON.
    pub(crate) fn options(&self, number: usize) -> ClientOptions {
        ClientOptions::new(self.key.as_str())
            .endpoint("127.0.0.1")
            .port(self.port)
            .tls(false)
            .client_id(format!("client-{number}"))
            .use_binary_protocol(number.is_multiple_of(2))
    }

    /// Adds the next rule. It applies once, or a few times.
    pub(crate) async fn inject_fault(&self) {
        let frame = |to: &str, action: &str, faults: Value, times: u32| {
            let matches = json!({ "type": format!("ws_frame_{to}"), "action": action });
            json!({ "match": matches, "action": faults, "times": times })
        };
        let cut = json!({ "type": "disconnect" });
        let lost = json!({ "type": "suppress" });
        let late = json!({ "type": "delay", "delayMs": 300 });
        let rules = [
            frame("to_client", "ACK", cut.clone(), 1),
            frame("to_client", "ACK", json!([lost, cut]), 1),
            frame("to_server", "MESSAGE", json!([lost, cut]), 1),
            frame("to_client", "MESSAGE", late, 20),
            frame("to_client", "ATTACHED", cut.clone(), 1),
            frame("to_server", "PRESENCE", json!({ "type": "close", "closeCode": 1011 }), 1),
            json!({ "match": { "type": "ws_connect" }, "action": { "type": "refuse_connection" }, "times": 1 }),
            json!({ "match": { "type": "http_request" }, "times": 2,
                    "action": { "type": "http_respond", "status": 503 } }),
        ];
        let number = self.faults.fetch_add(1, Ordering::Relaxed);
        let body = rules[number % rules.len()].to_string();
        let answer = ask(&self.control, "POST", "/rules", &body).await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        if matches!(rules[number % rules.len()]["match"]["type"].as_str(), Some("ws_connect")) {
            // A rule for a new connection needs a client that connects.
            let again = frame("to_client", "MESSAGE", cut, 1).to_string();
            ask(&self.control, "POST", "/rules", &again).await;
        }
    }

    pub(crate) async fn clear_faults(&self) {
        let answer = ask(&self.control, "DELETE", "/rules", "").await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }

    /// A value of the metrics: the sum of all its lines. `None` if a fault has met the request.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = ask(&self.metrics, "GET", "/metrics", "").await;
        if !text.starts_with("HTTP/1.1 200") {
            return None;
        }
        let values = text.lines().filter_map(|line| {
            let (named, value) = line.rsplit_once(' ')?;
            let is_it = named.split('{').next() == Some(name);
            is_it.then(|| value.parse::<f64>().unwrap())
        });
        Some(values.sum())
    }

    pub(crate) fn process(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The server has no data to lose, and may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// MiB of memory of a process, as the system counts it. The name of this process is `self`.
pub(crate) fn memory(process: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The descriptors that a process has open.
pub(crate) fn descriptors(process: &str) -> f64 {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as f64
}

async fn ask(address: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
