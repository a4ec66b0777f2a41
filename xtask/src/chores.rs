//! Short commands for the longer ones in CONTRIBUTING.md.

use std::{path::Path, process::Command};

use crate::Outcome;

/// The number of simulated hours of `cargo xtask hours`.
const HOURS: &str = "1000";

/// `cargo xtask lint`: the checks that `.ci/run` makes before it runs tests.
pub(crate) fn lint(root: &Path) -> Outcome {
    cargo(root, &["fmt", "--all", "--check"], &[])?;
    for features in [&[][..], &["--no-default-features"], &["--all-features"]] {
        let mut arguments = vec!["clippy", "--locked", "--workspace", "--all-targets"];
        arguments.extend(features);
        arguments.extend(["--", "-D", "warnings"]);
        cargo(root, &arguments, &[])?;
    }
    let docs = ["doc", "--locked", "--workspace", "--no-deps", "--all-features"];
    cargo(root, &docs, &[("RUSTDOCFLAGS", "-D warnings")])?;
    Ok("formatting, lints and docs are in order".to_owned())
}

/// `cargo xtask hours`: simulated hours of drops and refusals. With a seed, only the hour of that seed.
pub(crate) fn hours(root: &Path, seed: Option<&str>) -> Outcome {
    let hours = seed.map_or(HOURS, |_| "1");
    let mut settings = vec![("CAPABLY_HOURS", hours)];
    settings.extend(seed.map(|seed| ("CAPABLY_FIRST_HOUR", seed)));
    let test = ["test", "--release", "-p", "capably", "--test", "realtime", "hours"];
    let arguments: Vec<&str> = test.into_iter().chain(["--", "--nocapture"]).collect();
    cargo(root, &arguments, &settings)?;
    Ok(format!("simulated hours without a failure: {hours}"))
}

/// `cargo xtask interop`: the official clients against our server, and against our clients.
pub(crate) fn interop(root: &Path) -> Outcome {
    cargo(root, &["build", "--release", "-p", "capably-cli", "-p", "capably-interop"], &[])?;
    let folder = root.join("interop");
    run(Command::new("npm").args(["ci", "--ignore-scripts"]).current_dir(&folder))?;
    run(Command::new("npm").arg("test").current_dir(&folder))?;
    Ok("the interop tests passed".to_owned())
}

/// `cargo xtask bench`: all benches. Compare figures only with figures of the same machine, measured by turns.
pub(crate) fn bench(root: &Path) -> Outcome {
    cargo(root, &["bench", "--workspace", "--benches"], &[])?;
    cargo(root, &["run", "--release", "--", "bench"], &[])?;
    Ok("all benches ran".to_owned())
}

pub(crate) fn cargo(
    root: &Path,
    arguments: &[&str],
    settings: &[(&str, &str)],
) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command.args(arguments).envs(settings.iter().copied()).current_dir(root);
    run(&mut command)
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let named = format!("{:?}", command.get_program()).replace('"', "");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{named} ended with {status}")),
        Err(error) => Err(format!("{named} could not be started: {error}")),
    }
}
