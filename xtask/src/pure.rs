//! `cargo xtask pure`: the pure crates stay free of runtimes, sockets, clocks and randomness.

use std::{env, path::Path, process::Command};

use crate::Outcome;

const PURE: [&str; 2] = ["capably-protocol", "capably-core"];

/// Crates no pure crate may depend on. An entry that ends in `*` stands for all names that begin so.
const BANNED: [&str; 41] = [
    // Runtimes and timers.
    "tokio*",
    "async-std",
    "async-io",
    "async-executor",
    "async-global-executor",
    "smol",
    "glommio",
    "monoio*",
    "compio*",
    "embassy*",
    "futures-executor",
    "futures-timer",
    // Sockets, HTTP, WebSocket, TLS.
    "mio",
    "polling",
    "socket2",
    "hyper*",
    "h2",
    "h3",
    "reqwest",
    "ureq",
    "isahc",
    "curl*",
    "axum*",
    "quinn*",
    "tungstenite",
    "fastwebsockets",
    "rustls*",
    "native-tls",
    "openssl*",
    // Clocks.
    "time",
    "chrono",
    "jiff",
    "instant",
    "web-time",
    "quanta",
    "coarsetime",
    // Randomness, other than generators that are handed their seed.
    "getrandom",
    "rand",
    "fastrand",
    "uuid",
    "ulid",
];

/// Fails if the dependency tree of a pure crate, for any target, holds a banned crate.
pub(crate) fn check(root: &Path) -> Outcome {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command.args(["tree", "--edges", "normal", "--target", "all", "--prefix", "none"]);
    command.args(["--format", "{p}", "--all-features"]);
    for package in PURE {
        command.args(["--package", package]);
    }
    let output = command.output().map_err(|e| format!("cannot run cargo tree: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let tree = String::from_utf8_lossy(&output.stdout);
    let names = names(&tree);
    for package in PURE {
        if !names.contains(&package) {
            return Err(format!("cargo tree does not list {package}:\n{tree}"));
        }
    }
    let found: Vec<&str> = names.iter().copied().filter(|name| is_banned(name)).collect();
    if found.is_empty() {
        Ok(format!("{} are pure: {} crates in their trees", PURE.join(" and "), names.len()))
    } else {
        Err(format!(
            "{} must not depend on {}; `cargo tree --invert {}` says where it comes from",
            PURE.join(" and "),
            found.join(", "),
            found[0]
        ))
    }
}

/// The names of the crates that `cargo tree --prefix none` printed, sorted.
fn names(tree: &str) -> Vec<&str> {
    let mut names: Vec<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn is_banned(name: &str) -> bool {
    BANNED.iter().any(|banned| match banned.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *banned,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_a_tree() {
        let tree =
            "capably-protocol v0.1.0 (/x)\nbytes v1.12.0\nserde v1.0.0\nbytes v1.12.0 (*)\n\n";
        assert_eq!(names(tree), ["bytes", "capably-protocol", "serde"]);
    }

    #[test]
    fn runtimes_sockets_clocks_and_randomness_are_banned() {
        for name in ["tokio", "tokio-util", "mio", "hyper-util", "rustls", "time", "getrandom"] {
            assert!(is_banned(name), "{name}");
        }
        for name in ["bytes", "rand_core", "timer-table", "tracing", "serde", "miow"] {
            assert!(!is_banned(name), "{name}");
        }
    }
}
