//! `cargo xtask pure`: the pure crates stay free of runtimes, sockets, clocks and randomness.

use std::{collections::BTreeSet, env, path::Path, process::Command};

use crate::Outcome;

const PURE: [&str; 3] = ["capably-protocol", "capably-objects", "capably-core"];

/// The dependencies that a pure crate must not have: a crate, all crates with a prefix (`prefix*`), or a feature of a crate
/// (`crate/feature`).
const BANNED: [&str; 42] = [
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
    // Randomness, except generators that get their seed as an input.
    "getrandom",
    "rand",
    "fastrand/std",
    "fastrand/js",
    "uuid",
    "ulid",
];

/// Fails if the dependency tree of a pure crate has a banned crate, on any target.
pub(crate) fn check(root: &Path) -> Outcome {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command.args(["tree", "--edges", "normal", "--target", "all", "--prefix", "none"]);
    command.args(["--format", "{p}|{f}", "--all-features"]);
    for package in PURE {
        command.args(["--package", package]);
    }
    let output = command.output().map_err(|e| format!("cannot run cargo tree: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree failed:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let tree = String::from_utf8_lossy(&output.stdout);
    let (crates, features) = read(&tree);
    for package in PURE {
        if !crates.contains(package) {
            return Err(format!("cargo tree does not list {package}:\n{tree}"));
        }
    }
    let found: Vec<String> =
        crates.iter().map(|&name| name.to_owned()).chain(features).filter(is_banned).collect();
    if found.is_empty() {
        Ok(format!("{} are pure: {} crates in their trees", PURE.join(" and "), crates.len()))
    } else {
        Err(format!(
            "{} must not depend on {}; `cargo tree --invert <crate>` says where one comes from",
            PURE.join(" and "),
            found.join(", "),
        ))
    }
}

/// The crates, and the `crate/feature` pairs, in lines of `name version (…)|feature,…`.
fn read(tree: &str) -> (BTreeSet<&str>, BTreeSet<String>) {
    let mut crates = BTreeSet::new();
    let mut features = BTreeSet::new();
    for line in tree.lines() {
        let (package, enabled) = line.split_once('|').unwrap_or((line, ""));
        let Some(name) = package.split_whitespace().next() else { continue };
        crates.insert(name);
        // A crate that was listed before has ` (*)` after its features.
        for feature in enabled.trim_end_matches(" (*)").split(',').filter(|f| !f.is_empty()) {
            features.insert(format!("{name}/{feature}"));
        }
    }
    (crates, features)
}

fn is_banned(entry: &String) -> bool {
    BANNED.iter().any(|banned| match banned.strip_suffix('*') {
        Some(prefix) => !entry.contains('/') && entry.starts_with(prefix),
        None => entry == banned,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_and_their_features_are_read_from_a_tree() {
        let tree =
            "core v0.1.0 (/x)|\nbytes v1.12.0|default,std\nbytes v1.12.0|default,std (*)\n\n";
        let (crates, features) = read(tree);
        assert_eq!(Vec::from_iter(crates), ["bytes", "core"]);
        assert_eq!(Vec::from_iter(features), ["bytes/default", "bytes/std"]);
    }

    #[test]
    fn runtimes_sockets_clocks_and_randomness_are_banned() {
        for entry in ["tokio", "tokio-util", "mio", "rustls", "time", "getrandom", "fastrand/std"] {
            assert!(is_banned(&entry.to_owned()), "{entry}");
        }
        for entry in ["bytes", "rand_core", "timer-table", "tracing/std", "miow", "fastrand"] {
            assert!(!is_banned(&entry.to_owned()), "{entry}");
        }
    }
}
