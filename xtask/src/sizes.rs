//! `cargo xtask sizes`: builds programs to distribute, and writes the sizes of their files into the README.

use std::{fs, path::Path};

use crate::{Outcome, chores::cargo};

const README: &str = "README.md";
const START: &str = "<!-- The table is written by `cargo xtask sizes`. -->\n";
const END: &str = "<!-- The end of the sizes. -->\n";
const HEADINGS: &str = "| program | size |\n|---|---|\n";
const EXAMPLES: &str = "bench/sizes/Cargo.toml";

struct Program {
    /// The word that chooses it on the command line.
    name: &'static str,
    title: &'static str,
    arguments: &'static [&'static str],
    /// From the root of the repository, if no other target directory is chosen.
    file: &'static str,
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "command",
        title: "the command `capably`, with the server and the console",
        arguments: &["--profile", "dist", "--package", "capably-cli"],
        file: "target/dist/capably",
    },
    Program {
        name: "client",
        title: "a client that publishes and subscribes, with TLS",
        arguments: &[
            "--release",
            "--manifest-path",
            EXAMPLES,
            "--bin",
            "client",
            "--features",
            "tls",
        ],
        file: "target/sizes/release/client",
    },
    Program {
        name: "client-without-tls",
        title: "the same client without TLS",
        arguments: &["--release", "--manifest-path", EXAMPLES, "--bin", "client"],
        file: "target/sizes/release/client",
    },
    Program {
        name: "embedded",
        title: "a client and the embedded server in one program, without TLS",
        arguments: &[
            "--release",
            "--manifest-path",
            EXAMPLES,
            "--bin",
            "embedded",
            "--features",
            "capably-server",
        ],
        file: "target/sizes/release/embedded",
    },
];

/// Measures the programs of these names, or all if there are none. The other rows of the table stay as they are.
pub(crate) fn write(root: &Path, names: &[&str]) -> Outcome {
    if let Some(name) = names.iter().find(|name| PROGRAMS.iter().all(|it| it.name != **name)) {
        let known: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        return Err(format!("no program is named `{name}`: they are {}", known.join(", ")));
    }
    let path = root.join(README);
    let mut readme = fs::read_to_string(&path).map_err(|error| format!("{README}: {error}"))?;
    // Nothing is built for a README that has no place for the sizes.
    with_row(&readme, "", 0)?;
    for program in PROGRAMS.iter().filter(|it| names.is_empty() || names.contains(&it.name)) {
        let size = size(root, program)?;
        readme = with_row(&readme, program.title, size)?;
    }
    fs::write(&path, &readme).map_err(|error| format!("{README}: {error}"))?;
    Ok(table(&readme).map(str::trim_end).unwrap_or_default().to_owned())
}

fn size(root: &Path, program: &Program) -> Result<u64, String> {
    let folder = Path::new(program.file).parent().and_then(Path::parent);
    let folder = root.join(folder.unwrap_or(Path::new("target")));
    let mut arguments = vec!["build", "--locked"];
    arguments.extend(program.arguments);
    let folder = folder.to_string_lossy();
    arguments.extend(["--target-dir", folder.as_ref()]);
    cargo(root, &arguments, &[])?;
    let file = fs::metadata(root.join(program.file));
    file.map(|file| file.len()).map_err(|error| format!("{}: {error}", program.file))
}

/// The lines between the marks.
fn table(readme: &str) -> Option<&str> {
    parts(readme).map(|[_, table, _]| table)
}

/// What is before the first mark, between both, and after the second.
fn parts(readme: &str) -> Option<[&str; 3]> {
    let (before, rest) = readme.split_once(START)?;
    let (table, after) = rest.split_once(END)?;
    Some([before, table, after])
}

/// The README with this row. The rows have the order of the programs.
fn with_row(readme: &str, title: &str, size: u64) -> Result<String, String> {
    let [before, old, after] = parts(readme).ok_or_else(|| {
        let marks = format!("`{}` and `{}`", START.trim(), END.trim());
        format!("{README} has no place for the sizes: it needs the lines {marks}")
    })?;
    let row = |program: &Program| {
        let start = format!("| {} | ", program.title);
        if program.title == title {
            return Some(format!("{start}{:.1} MiB |\n", size as f64 / 1024.0 / 1024.0));
        }
        let row = old.lines().find(|row| row.starts_with(&start));
        row.map(|row| format!("{row}\n"))
    };
    let rows: String = PROGRAMS.iter().filter_map(row).collect();
    Ok(format!("{before}{START}\n{HEADINGS}{rows}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_row_replaces_the_old_one_and_the_others_stay() {
        let readme = format!("# Title\n{START}{END}the rest\n");
        let readme = with_row(&readme, PROGRAMS[1].title, 4 * MIB).unwrap();
        let readme = with_row(&readme, PROGRAMS[0].title, 10 * MIB).unwrap();
        let readme = with_row(&readme, PROGRAMS[1].title, 5 * MIB + MIB / 2).unwrap();
        let rows =
            format!("| {} | 10.0 MiB |\n| {} | 5.5 MiB |\n", PROGRAMS[0].title, PROGRAMS[1].title);
        assert_eq!(readme, format!("# Title\n{START}\n{HEADINGS}{rows}\n{END}the rest\n"));
    }

    #[test]
    fn a_readme_without_the_marks_is_refused() {
        let error = with_row("# Title\n", PROGRAMS[0].title, MIB).unwrap_err();
        assert!(error.starts_with("README.md has no place for the sizes"), "{error}");
    }

    #[test]
    fn the_readme_has_a_place_for_the_sizes() {
        let readme = fs::read_to_string(crate::root().join(README)).unwrap();
        assert!(table(&readme).is_some());
    }

    #[test]
    fn an_unknown_program_is_named() {
        let error = write(Path::new("."), &["kernel"]).unwrap_err();
        assert!(error.starts_with("no program is named `kernel`"), "{error}");
    }
}
