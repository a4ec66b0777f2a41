//! Processes of the command under test.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::{Child, ChildStderr, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::net::TcpSocket;

/// A longer wait counts as a hang.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// `capably` with these arguments, and none of the caller's settings.
pub(crate) fn capably<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capably"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in [
        "CAPABLY_CA",
        "CAPABLY_KEY",
        "CAPABLY_ENDPOINT",
        "CAPABLY_PORT",
        "CAPABLY_PROVISION_SECRET",
        "ABLY_API_KEY",
        "RUST_LOG",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "NO_COLOR",
    ] {
        command.env_remove(name);
    }
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    command
}

/// Runs `capably` until it exits.
pub(crate) fn run<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Output {
    finish(capably(arguments).spawn().unwrap())
}

/// Waits for a process to end, and returns what it wrote.
pub(crate) fn finish(child: Child) -> Output {
    let id = child.id();
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output().unwrap()));
    ended.recv_timeout(TIME_LIMIT).unwrap_or_else(|_| {
        signal("-KILL", id);
        panic!("capably did not end")
    })
}

/// Sends SIGINT, as Ctrl-C does.
pub(crate) fn interrupt(child: &Child) {
    signal("-INT", child.id());
}

/// Sends SIGTERM, as a service manager does to stop a service.
pub(crate) fn terminate(child: &Child) {
    signal("-TERM", child.id());
}

/// Sends SIGHUP, at which a server reads its certificate again.
#[cfg(feature = "tls")]
pub(crate) fn hang_up(child: &Child) {
    signal("-HUP", child.id());
}

fn signal(signal: &str, process: u32) {
    let status = Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(status.success());
}

pub(crate) fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

/// The output of a run that succeeded.
pub(crate) fn succeeded(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output).to_owned()
}

/// A running `capably serve`.
pub(crate) struct Server {
    child: Option<Child>,
    pub(crate) endpoint: String,
    pub(crate) port: u64,
    pub(crate) key: String,
    pub(crate) control: Option<u64>,
    pub(crate) metrics: Option<String>,
    pub(crate) console: Option<String>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        let any_port = if options.contains(&"--port") { &[][..] } else { &["--port", "0"] };
        let arguments = [&["serve", "--json"], any_port, options].concat();
        Self::start_as(capably(arguments))
    }

    /// Starts it with a command that runs `capably serve --json` in its place.
    pub(crate) fn start_as(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self {
            child: Some(child),
            endpoint: said["endpoint"].as_str().unwrap().to_owned(),
            port: said["port"].as_u64().unwrap(),
            key: said["key"].as_str().unwrap().to_owned(),
            control: said["control"].as_u64(),
            metrics: said["metrics"].as_str().map(str::to_owned),
            console: said["console"].as_str().map(str::to_owned),
        }
    }

    /// Creates an app, and returns it as the server describes it.
    pub(crate) fn create_app(&self, app: &Value) -> Value {
        let port = u16::try_from(self.port).unwrap();
        let mut stream = TcpStream::connect((self.endpoint.as_str(), port)).unwrap();
        let body = app.to_string();
        let length = body.len();
        let head = format!(
            "POST /apps HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// The server as clients see it through another port.
    pub(crate) fn seen_at(&self, port: u64) -> Self {
        let mut seen = Self::at(port, &self.key);
        seen.endpoint.clone_from(&self.endpoint);
        seen
    }

    /// Another service on this machine, as clients see it.
    pub(crate) fn at(port: u64, key: &str) -> Self {
        let (endpoint, key) = ("127.0.0.1".to_owned(), key.to_owned());
        Self { child: None, endpoint, port, key, control: None, metrics: None, console: None }
    }

    /// A client command for this server.
    pub(crate) fn client<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = capably(arguments);
        command
            .env("CAPABLY_ENDPOINT", &self.endpoint)
            .env("CAPABLY_PORT", self.port.to_string())
            .env("CAPABLY_KEY", &self.key);
        command
    }

    /// Runs a client command until it exits.
    pub(crate) fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Output {
        finish(self.client(arguments).spawn().unwrap())
    }

    /// The key with a wrong secret.
    pub(crate) fn wrong_key(&self) -> String {
        let (name, _) = self.key.split_once(':').unwrap();
        format!("{name}:not-the-secret")
    }

    /// Kills the process.
    pub(crate) fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it as Ctrl-C does.
    pub(crate) fn stop(self) -> Output {
        let child = self.into_child();
        interrupt(&child);
        finish(child)
    }

    /// Stops it as a service manager does.
    pub(crate) fn terminate(self) -> Output {
        let child = self.into_child();
        terminate(&child);
        finish(child)
    }

    pub(crate) fn into_child(mut self) -> Child {
        self.child.take().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A running `capably subscribe`, attached.
pub(crate) struct Subscriber {
    pub(crate) child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Subscriber {
    pub(crate) fn start(server: &Server, channel: &str, options: &[&str]) -> Self {
        let arguments = ["subscribe", channel].into_iter().chain(options.iter().copied());
        let mut child = server.client(arguments).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert_eq!(line, format!("Subscribed to {channel}\n"));
        Self { child, stderr }
    }

    /// Waits for its end, and returns what it wrote after it was attached.
    pub(crate) fn finish(mut self) -> Output {
        let mut output = finish(self.child);
        self.stderr.read_to_end(&mut output.stderr).unwrap();
        output
    }

    /// Waits for its end, and returns the messages it printed with `--json`.
    pub(crate) fn messages(self) -> Vec<Value> {
        let output = succeeded(self.finish());
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A port of this machine at which nothing listens. No other program gets it while this lives.
pub(crate) struct ClosedPort(TcpSocket);

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self(socket)
    }

    pub(crate) fn number(&self) -> String {
        self.0.local_addr().unwrap().port().to_string()
    }
}
