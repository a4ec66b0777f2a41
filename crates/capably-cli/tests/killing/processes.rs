//! The brokers and nodes, each a process.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command as StdCommand, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    sync::Mutex,
    time::{sleep, timeout},
};

pub(crate) const COUNT: usize = 3;
const START: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    brokers: Vec<Process>,
    nodes: Vec<Process>,
    folder: TempDir,
}

/// A process that can be killed and started again.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    /// The address and the path of its health check.
    health: (u16, &'static str),
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = nats_server();
        let ports = free_ports(4 * COUNT);
        let (brokers, rest) = ports.split_at(COUNT);
        let (routes, rest) = rest.split_at(COUNT);
        let (monitors, nodes) = rest.split_at(COUNT);
        let list = |ports: &[u16]| {
            let all: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
            all.join(",")
        };
        let process = |name: String, port, program: &Path, health, arguments| Process {
            log: folder.path().join(format!("{name}.log")),
            name,
            port,
            program: program.to_owned(),
            arguments,
            health,
            child: Mutex::new(None),
        };
        let broker = |index: usize| {
            let arguments = [
                ("--addr", "127.0.0.1".to_owned()),
                ("--port", brokers[index].to_string()),
                ("--http_port", monitors[index].to_string()),
                ("--name", format!("broker{index}")),
                ("--store_dir", folder.path().join(format!("broker{index}")).display().to_string()),
                ("--cluster_name", "killing".to_owned()),
                ("--cluster", list(&routes[index..=index])),
                ("--routes", list(routes)),
            ];
            let arguments =
                arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
            let arguments = arguments.chain(["--jetstream".to_owned()]).collect();
            let health = (monitors[index], "/healthz");
            process(format!("broker{index}"), brokers[index], &program, health, arguments)
        };
        let node = |index: usize| {
            let arguments = [
                ("--port", nodes[index].to_string()),
                ("--cluster", list(brokers)),
                ("--replicas", COUNT.to_string()),
                ("--cluster-secret", "the secret of a test".to_owned()),
                ("--log-format", "text".to_owned()),
            ];
            let arguments =
                arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
            let arguments = ["serve".to_owned()].into_iter().chain(arguments).collect();
            let health = (nodes[index], "/health/ready");
            let program = Path::new(env!("CARGO_BIN_EXE_capably"));
            process(format!("node{index}"), nodes[index], program, health, arguments)
        };
        let cluster = Self {
            brokers: (0..COUNT).map(broker).collect(),
            nodes: (0..COUNT).map(node).collect(),
            folder,
        };
        for process in cluster.brokers.iter().chain(&cluster.nodes) {
            process.start().await;
        }
        for process in cluster.brokers.iter().chain(&cluster.nodes) {
            process.healthy().await;
        }
        cluster
    }

    pub(crate) fn brokers(&self) -> &[Process] {
        &self.brokers
    }

    pub(crate) fn nodes(&self) -> &[Process] {
        &self.nodes
    }

    /// Creates an app whose channels `kept:…` keep their history for longer than a run takes, and returns its key.
    pub(crate) async fn create_app(&self) -> String {
        let body = json!({ "keys": [{}], "namespaces": [{ "id": "kept", "persisted": true }] });
        let (status, app) =
            request(self.nodes[0].port, "POST", "/apps", &body.to_string()).await.unwrap();
        assert_eq!(status, 201, "{app}");
        let app: Value = serde_json::from_str(&app).unwrap();
        app["keys"][0]["keyStr"].as_str().unwrap().to_owned()
    }

    /// Ends all processes. The logs stay if `CAPABLY_KILL_LOGS` names a directory for them.
    pub(crate) async fn stop(&self) {
        for process in self.nodes.iter().chain(&self.brokers) {
            process.kill().await;
        }
        if let Some(logs) = std::env::var_os("CAPABLY_KILL_LOGS") {
            std::fs::create_dir_all(&logs).unwrap();
            for process in self.nodes.iter().chain(&self.brokers) {
                let copy = Path::new(&logs).join(process.log.file_name().unwrap());
                if let Err(error) = std::fs::copy(&process.log, copy) {
                    println!("the log of {} cannot be copied: {error}", process.name);
                }
            }
            println!("the logs of {} are in {}", self.folder.path().display(), logs.display());
        }
    }
}

impl Process {
    pub(crate) async fn start(&self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // The environment of a developer may name another cluster or another log.
        for variable in ["CAPABLY_CLUSTER", "CAPABLY_CLUSTER_SECRET", "CAPABLY_KEY"] {
            command.env_remove(variable);
        }
        let child = command.kill_on_drop(true).spawn().unwrap();
        *self.child.lock().await = Some(child);
    }

    /// Ends the process with SIGKILL.
    pub(crate) async fn kill(&self) {
        if let Some(mut child) = self.child.lock().await.take() {
            child.kill().await.unwrap();
        }
    }

    /// Waits until the process can be used. One that has ended is started again, as a service manager does: a node ends
    /// when it finds no broker that answers in time.
    pub(crate) async fn healthy(&self) {
        let wait = async {
            loop {
                let (port, path) = self.health;
                if let Some((200, _)) = request(port, "GET", path, "").await {
                    return;
                }
                let ended = match &mut *self.child.lock().await {
                    Some(child) => child.try_wait().unwrap().is_some(),
                    None => false,
                };
                if ended {
                    self.start().await;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        if timeout(START, wait).await.is_err() {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(20)..].join("\n");
            panic!("{} is not healthy after {} s:\n{last}", self.name, START.as_secs());
        }
    }
}

/// The status and the body of an answer; `None` if there is none.
pub(crate) async fn request(
    port: u16,
    method: &str,
    target: &str,
    body: &str,
) -> Option<(u16, String)> {
    let answer = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len(),
        );
        stream.write_all((head + body).as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    };
    timeout(Duration::from_secs(5), answer).await.ok()?
}

/// Ports that no outgoing connection of the system takes while their process is away.
fn free_ports(count: usize) -> Vec<u16> {
    let mut ports = Vec::new();
    while ports.len() < count {
        let port = fastrand::u16(10_000..30_000);
        if !ports.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    ports
}

/// The path of a nats-server, which `scripts/nats` installs.
fn nats_server() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/nats");
    let output = StdCommand::new(script).stderr(Stdio::inherit()).output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !path.is_empty(), "scripts/nats fails");
    PathBuf::from(path.trim())
}
