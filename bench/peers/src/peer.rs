//! The peers: how each of their programs is started, and the figures that it prints.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use capably_protocol::Format;

/// The figures of one run, by name.
pub type Sample = BTreeMap<String, f64>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Capably,
    Reliably,
    Node,
    Python,
}

impl Peer {
    pub fn named(name: &str) -> Option<Self> {
        [Self::Capably, Self::Reliably, Self::Node, Self::Python]
            .into_iter()
            .find(|peer| format!("{peer:?}").eq_ignore_ascii_case(name))
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Capably => "capably",
            Self::Reliably => "reliably",
            Self::Node => "npm ably",
            Self::Python => "Python ably",
        }
    }

    pub fn is_ours(self) -> bool {
        self == Self::Capably
    }

    /// The messages of a run: it takes about a second or two.
    pub fn messages(self) -> usize {
        match self {
            Self::Capably => 1_000_000,
            Self::Reliably => 200_000,
            Self::Node => 100_000,
            Self::Python => 20_000,
        }
    }

    /// Measures a figure with a new process of this peer.
    pub fn run(
        self,
        figure: &str,
        format: Format,
        port: u16,
        count: usize,
    ) -> Result<Sample, String> {
        let program: &[&str] = match self {
            Self::Capably => &["target/release/peer-capably"],
            Self::Reliably => &["target/peer/release/peer-reliably"],
            Self::Node => &["node", "--expose-gc", "clients/node/client.mjs"],
            Self::Python => &["target/python/bin/python", "clients/python/client.py"],
        };
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args([figure, format.name()]);
        command.args([port.to_string(), count.to_string()]).stderr(Stdio::inherit());
        let failed = |what: &str| format!("{} failed at {figure}: {what}", self.title());
        let output = command.output().map_err(|error| failed(&error.to_string()))?;
        if !output.status.success() {
            return Err(failed(&output.status.to_string()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| failed(&error.to_string()))
    }
}
