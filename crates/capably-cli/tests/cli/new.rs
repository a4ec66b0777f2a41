use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{run, stderr, succeeded};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The versions and the directory of the workspace are used, so that little is compiled and nothing is downloaded.
#[test]
fn a_new_program_builds_and_its_test_passes_offline() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("My Greeter");
    let said = succeeded(run(["new", text(&directory), "--path", text(&checkout())]));
    assert!(said.starts_with("Wrote the crate `my-greeter`"), "{said}");

    fs::copy(checkout().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--color", "never"])
        .current_dir(&directory)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("test a_greeting_arrives_at_another_client ... ok"), "{out}");
    assert!(!err.contains("warning"), "{err}");
}

#[test]
fn without_a_path_the_program_depends_on_the_checkout_of_the_command() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("greeter");
    succeeded(run(["new", text(&directory)]));
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
    let server = checkout().canonicalize().unwrap().join("crates/capably-server");
    assert!(manifest.contains(&format!("capably-server = {{ path = {server:?} }}")), "{manifest}");
    assert!(!manifest.contains("[workspace]"), "{manifest}");

    // A program inside another package stands alone.
    let inner = directory.join("inner");
    succeeded(run(["new", text(&inner)]));
    assert!(fs::read_to_string(inner.join("Cargo.toml")).unwrap().ends_with("[workspace]\n"));
}

#[test]
fn a_directory_with_files_is_refused_and_stays_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("notes"), "mine").unwrap();
    let output = run(["new", text(home.path())]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is not empty\n  remedy: choose a new directory"));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn a_wrong_name_or_checkout_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("new");
    for (options, expected) in [
        (
            ["--name", "2nd try"],
            "`2nd try` cannot be the name of this crate\n  remedy: use another name, for example \
             `--name app-2nd-try`\n",
        ),
        (["--name", "tokio"], "`tokio` cannot be the name of this crate\n"),
        (["--path", "/nonexistent"], "/nonexistent is not a checkout of capably\n"),
    ] {
        let output = run(["new", text(&directory)].into_iter().chain(options));
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert!(!directory.exists());
    }
}
