//! `cargo xtask package`: every published crate builds from its archive, with its tests.
//!
//! `cargo package` builds a crate, but not its tests. Here the archives are unpacked into a workspace of their own, in
//! which each crate uses the others from their archives. A file that a crate includes from outside its folder is missing
//! there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    Outcome,
    chores::{cargo, run},
};

/// A crate that is published.
struct Published {
    name: String,
    /// The name of its archive, without the extension, and of the folder in it.
    archive: String,
}

/// Packs the published crates, and builds them and their tests from the archives. Works offline.
pub(crate) fn check(root: &Path) -> Outcome {
    let metadata = metadata(root)?;
    let (crates, target) = read(&metadata).ok_or("cargo metadata has another form than before")?;
    let packages = target.join("package");
    let workspace = packages.join("unpacked");

    // Uncommitted changes count: the check should help before a commit.
    let mut pack = vec!["package", "--locked", "--offline", "--allow-dirty", "--no-verify"];
    pack.extend(crates.iter().flat_map(|package| ["-p", &package.name]));
    cargo(root, &pack, &[])?;

    if workspace.exists() {
        fs::remove_dir_all(&workspace).map_err(|error| cannot("empty", &workspace, &error))?;
    }
    fs::create_dir_all(&workspace).map_err(|error| cannot("create", &workspace, &error))?;
    for package in &crates {
        let archive = packages.join(format!("{}.crate", package.archive));
        run(Command::new("tar").arg("xzf").arg(&archive).current_dir(&workspace))?;
    }
    // The same versions of dependencies as here, so that nothing has to be downloaded.
    let lock = workspace.join("Cargo.lock");
    fs::copy(root.join("Cargo.lock"), &lock).map_err(|error| cannot("write", &lock, &error))?;
    let manifest = workspace.join("Cargo.toml");
    fs::write(&manifest, workspace_manifest(&crates))
        .map_err(|error| cannot("write", &manifest, &error))?;

    // The target directory of the repository has the dependencies, already built.
    let target = target.to_string_lossy();
    let common = ["--workspace", "--offline", "--all-features", "--target-dir", &target];
    cargo(&workspace, &[&["test", "--no-run"], &common[..]].concat(), &[])?;
    // Documentation tests cannot be built without running them.
    cargo(&workspace, &[&["test", "--doc"], &common[..]].concat(), &[])?;
    let names: Vec<&str> = crates.iter().map(|package| package.name.as_str()).collect();
    Ok(format!("from their archives build, with their tests: {}", names.join(", ")))
}

fn metadata(root: &Path) -> Result<Value, String> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let output = command.current_dir(root).output();
    let output = output.map_err(|error| format!("cargo could not be started: {error}"))?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// The crates that are published, and the target directory.
fn read(metadata: &Value) -> Option<(Vec<Published>, PathBuf)> {
    let mut crates = Vec::new();
    for package in metadata["packages"].as_array()? {
        // `publish = false` is an empty list of registries.
        if package["publish"].is_null() {
            let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
            crates.push(Published { name: name.into(), archive: format!("{name}-{version}") });
        }
    }
    Some((crates, metadata["target_directory"].as_str()?.into()))
}

/// The manifest of a workspace of the unpacked archives. They name each other by version; the patches replace the registry.
fn workspace_manifest(crates: &[Published]) -> String {
    let members: Vec<String> =
        crates.iter().map(|package| format!("{:?}", package.archive)).collect();
    let patches: Vec<String> = crates
        .iter()
        .map(|Published { name, archive }| format!("{name} = {{ path = {archive:?} }}\n"))
        .collect();
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n[patch.crates-io]\n{}",
        members.join(", "),
        patches.concat()
    )
}

fn cannot(action: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {action} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn published_crates_are_patched_by_their_archives() {
        let metadata = json!({
            "target_directory": "/target",
            "packages": [
                { "name": "protocol", "version": "0.1.0", "publish": null },
                { "name": "xtask", "version": "0.0.0", "publish": [] },
                { "name": "cli", "version": "0.2.0", "publish": null },
            ],
        });
        let (crates, target) = read(&metadata).unwrap();
        assert_eq!(target, Path::new("/target"));
        assert_eq!(
            workspace_manifest(&crates),
            r#"[workspace]
resolver = "3"
members = ["protocol-0.1.0", "cli-0.2.0"]

[patch.crates-io]
protocol = { path = "protocol-0.1.0" }
cli = { path = "cli-0.2.0" }
"#
        );
        assert!(read(&json!({ "packages": [{}] })).is_none());
    }
}
