//! Brokers as child processes, on free ports and with temporary directories.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::LazyLock,
    thread,
    time::Duration,
};

use tempfile::{NamedTempFile, TempDir};

/// The versions of nats-server to test with: the oldest that is supported, and a newer one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    Oldest,
    Newest,
}

/// A cluster of brokers, which end with it.
pub(crate) struct Brokers {
    all: Vec<Broker>,
    _folder: TempDir,
    /// Brokers read it when they start.
    configuration: Option<NamedTempFile>,
}

struct Broker {
    arguments: Vec<String>,
    program: String,
    port: u16,
    process: Option<Child>,
}

impl Brokers {
    /// Starts brokers, with more arguments where the test needs them.
    pub(crate) fn start(version: Version, count: usize, more: &[&str]) -> Self {
        let program = program(version);
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * count);
        let (clients, routes) = ports.split_at(count);
        let peers: Vec<_> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let all = (0..count).map(|index| {
            let store = folder.path().join(index.to_string());
            let mut arguments: Vec<String> = vec![
                "--addr".into(),
                "127.0.0.1".into(),
                "--port".into(),
                clients[index].to_string(),
                "--name".into(),
                format!("n{index}"),
                "--store_dir".into(),
                store.display().to_string(),
            ];
            if count > 1 {
                arguments.extend(["--cluster_name".into(), "test".into()]);
                arguments.extend(["--cluster".into(), peers[index].clone()]);
                arguments.extend(["--routes".into(), peers.join(",")]);
            }
            arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
            Broker { arguments, program: program.clone(), port: clients[index], process: None }
        });
        let mut brokers = Self { all: all.collect(), _folder: folder, configuration: None };
        (0..count).for_each(|index| brokers.run(index));
        brokers
    }

    /// Starts brokers with JetStream.
    pub(crate) fn jetstream(version: Version, count: usize) -> Self {
        Self::start(version, count, &["-js"])
    }

    /// Starts a broker with JetStream, and with a configuration besides.
    pub(crate) fn configured(version: Version, configuration: &str) -> Self {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), configuration).unwrap();
        let mut brokers =
            Self::start(version, 1, &["-js", "--config", file.path().to_str().unwrap()]);
        brokers.configuration = Some(file);
        brokers
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.all.iter().map(|broker| format!("nats://127.0.0.1:{}", broker.port)).collect()
    }

    /// Changes the configuration of a broker, which reads it when it starts again.
    pub(crate) fn configure(&self, configuration: &str) {
        let file = self.configuration.as_ref().expect("the broker has a configuration");
        fs::write(file.path(), configuration).unwrap();
    }

    /// Ends a broker with SIGKILL.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut process) = self.all[index].process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops a broker without ending it: its connections stand, and nothing is answered.
    pub(crate) fn pause(&self, index: usize) {
        self.signal(index, "-STOP");
        // Its threads stop one after another, and one that still runs would answer.
        while !self.is_paused(index) {
            thread::yield_now();
        }
    }

    fn is_paused(&self, index: usize) -> bool {
        let process = self.all[index].process.as_ref().expect("the broker runs");
        let threads = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("stat"))).all(|state| {
            state.is_ok_and(|state| state.rsplit(") ").next().unwrap().starts_with('T'))
        })
    }

    /// Goes on with a broker that was stopped.
    pub(crate) fn resume(&self, index: usize) {
        self.signal(index, "-CONT");
    }

    fn signal(&self, index: usize, signal: &str) {
        let process = self.all[index].process.as_ref().expect("the broker runs");
        let id = process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Ends a broker with SIGTERM, and waits until it has stored its state.
    pub(crate) fn end(&mut self, index: usize) {
        self.signal(index, "-TERM");
        if let Some(mut process) = self.all[index].process.take() {
            process.wait().unwrap();
        }
    }

    /// Starts a broker that has ended, with its data.
    pub(crate) fn run(&mut self, index: usize) {
        let broker = &mut self.all[index];
        let mut command = Command::new(&broker.program);
        command.args(&broker.arguments).stdin(Stdio::null()).stdout(Stdio::null());
        broker.process = Some(command.stderr(Stdio::null()).spawn().unwrap());
    }

    /// A connection of its own.
    pub(crate) async fn client(&self) -> async_nats::Client {
        let addresses: Vec<async_nats::ServerAddr> =
            self.addresses().iter().map(|address| address.parse().unwrap()).collect();
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        options.request_timeout(Some(Duration::from_secs(5))).connect(&addresses[..]).await.unwrap()
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        (0..self.all.len()).for_each(|index| self.kill(index));
    }
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// The path of a nats-server, which `scripts/nats` installs.
fn program(version: Version) -> String {
    static OLDEST: LazyLock<String> = LazyLock::new(|| install("2.9"));
    static NEWEST: LazyLock<String> = LazyLock::new(|| install("2.15"));
    match version {
        Version::Oldest => OLDEST.clone(),
        Version::Newest => NEWEST.clone(),
    }
}

fn install(version: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/nats");
    let output = Command::new(script).arg(version).stderr(Stdio::inherit()).output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !path.is_empty(), "scripts/nats {version} fails");
    path.trim().to_owned()
}
