//! The server in a process of its own, and its clients.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Instant,
};

use capably::{Channel, ClientOptions, Realtime};
use capably_server::Server;
use tokio::runtime::{Builder, Runtime};

use crate::{median, millis};

pub(crate) const KEY: &str = "growth.keyId:keySecret";
const SERVE: &str = "serve";
const MAX_MEMBERS: usize = 1_000_000;
/// The times of which a median is taken.
const SAMPLES: usize = 101;

/// Whether this process is a server. It has served until its parent had no more use for it.
pub(crate) fn has_served() -> bool {
    let is_server = env::args().nth(1).is_some_and(|argument| argument == SERVE);
    if is_server {
        runtime().block_on(async {
            let builder = Server::builder().key(KEY).max_presence_members(MAX_MEMBERS);
            let server = builder.start().await.unwrap();
            println!("{}", server.local_addr());
            std::future::pending::<()>().await;
        });
    }
    is_server
}

pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    pub(crate) fn start() -> Self {
        let program = env::current_exe().unwrap();
        let mut child = Command::new(program).arg(SERVE).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    /// A client that is connected.
    pub(crate) async fn client(&self) -> Realtime {
        let options = ClientOptions::new(KEY)
            .endpoint(self.address.ip().to_string())
            .port(self.address.port())
            .tls(false);
        Realtime::connect(options).await.unwrap()
    }

    /// The memory of the server in MiB.
    pub(crate) fn memory(&self) -> f64 {
        memory(&self.child.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The server has no data to lose, and may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The memory of a process in MiB, as the system counts it. The name of this process is `self`.
pub(crate) fn memory(process: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// The median of the times, in milliseconds, from a publish to its acknowledgement.
pub(crate) async fn publish(channel: &Channel) -> f64 {
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let start = Instant::now();
        channel.publish("tick", "x").await.unwrap();
        times.push(millis(start.elapsed()));
    }
    median(times)
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
