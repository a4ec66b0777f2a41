//! `capably new`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use crate::{failure::Failure, output::Output};

const MANIFEST: &str = include_str!("../new/Cargo.toml.txt");
const LIBRARY: &str = include_str!("../new/lib.rs.txt");
const MAIN: &str = include_str!("../new/main.rs.txt");
const TEST: &str = include_str!("../new/test.rs.txt");

/// Names that Cargo or the generated program cannot use: keywords, and crates that the program uses.
const RESERVED: [&str; 64] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "capably",
    "capably_server",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "main",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tokio",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Write a small program, with a test that needs no network
#[derive(Debug, Args)]
#[command(after_help = "\
The program publishes a greeting and receives it. Its test runs a server in its
own process: `cargo test` passes at once.

Examples:
  capably new greeter
  capably new greeter --path ~/src/capably
  capably new . --name greeter")]
pub(crate) struct New {
    /// Directory to create; an existing one must be empty
    directory: PathBuf,

    /// Name of the crate; by default the name of the directory, with what is not allowed replaced
    #[arg(long)]
    name: Option<String>,

    /// Checkout of capably to depend on; by default the one that this command was built from, or else
    /// the published version
    #[arg(long, value_name = "CHECKOUT")]
    path: Option<PathBuf>,

    /// Print one JSON object: the name, the directory and the files
    #[arg(long)]
    json: bool,
}

impl New {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let name = match &self.name {
            Some(name) => checked(name)?,
            None => name_of(&self.directory),
        };
        let source = Source::choose(self.path.as_deref())?;
        create_empty(&self.directory)?;
        let manifest = MANIFEST
            .replace("{{name}}", &name)
            .replace("{{capably}}", &source.dependency("capably")?)
            .replace("{{server}}", &source.dependency("capably-server")?)
            + workspace(&self.directory);
        let named = |text: &str| text.replace("{{crate}}", &name.replace('-', "_"));
        let files = [
            ("Cargo.toml", manifest),
            (".gitignore", "/target\n".to_owned()),
            ("src/lib.rs", LIBRARY.to_owned()),
            ("src/main.rs", named(MAIN)),
            ("tests/greetings.rs", named(TEST)),
        ];
        for (file, text) in &files {
            write(&self.directory.join(file), text)?;
        }

        let mut output = Output::stdout();
        if self.json {
            let files = files.map(|(file, _)| file);
            return output.json_now(json!({
                "name": name, "directory": self.directory, "files": files,
            }));
        }
        let directory = self.directory.display();
        output.line(format_args!(
            "Wrote the crate `{name}` to {directory}. Next:\n\n  cd {directory}\n  cargo test\n\n\
             The test runs a server of its own. To run the program, start `capably serve` in another terminal (in a \
             checkout: `cargo run -- serve`), paste the `export` line that it prints into this one, and `cargo run`."
        ))?;
        output.flush()
    }
}

/// The place that the generated program gets capably from.
#[derive(Debug)]
enum Source {
    Checkout(PathBuf),
    Published,
}

impl Source {
    fn choose(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            let built_from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
            return Ok(Self::checkout(built_from).unwrap_or(Self::Published));
        };
        Self::checkout(path).ok_or_else(|| {
            Failure::usage(format!("{} is not a checkout of capably", path.display()))
                .remedy("name the directory that contains crates/capably and crates/capably-server")
        })
    }

    fn checkout(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let has = |name: &str| path.join("crates").join(name).join("Cargo.toml").is_file();
        (has("capably") && has("capably-server")).then_some(Self::Checkout(path))
    }

    /// The value of the dependency in Cargo.toml.
    fn dependency(&self, name: &str) -> Result<String, Failure> {
        match self {
            Self::Published => Ok(format!("{:?}", env!("CARGO_PKG_VERSION"))),
            Self::Checkout(path) => {
                let path = path.join("crates").join(name);
                let text = path.to_str().ok_or_else(|| {
                    Failure::usage(format!("{} is not UTF-8, as Cargo needs it", path.display()))
                })?;
                // A JSON string is a TOML string.
                Ok(format!("{{ path = {} }}", serde_json::Value::from(text)))
            }
        }
    }
}

/// Checks the name of a crate that the user chose.
fn checked(name: &str) -> Result<String, Failure> {
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if valid && !is_reserved(name) {
        return Ok(name.to_owned());
    }
    Err(Failure::usage(format!("`{name}` cannot be the name of this crate"))
        .remedy(format!("use another name, for example `--name {}`", valid_name(name))))
}

/// The name of the crate in a directory.
fn name_of(directory: &Path) -> String {
    let known = directory.canonicalize();
    let directory = known.as_deref().unwrap_or(directory);
    valid_name(&directory.file_name().unwrap_or_default().to_string_lossy())
}

/// The text as the name of a crate: other characters are replaced, and reserved names get an ending.
fn valid_name(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = text.to_lowercase().chars().map(allowed).collect();
    let name = name.trim_matches('-');
    match name.chars().next() {
        None => "greeter".to_owned(),
        Some(c) if !c.is_ascii_alphabetic() => format!("app-{name}"),
        Some(_) if is_reserved(name) => format!("{name}-app"),
        Some(_) => name.to_owned(),
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.binary_search(&&*name.to_lowercase().replace('-', "_")).is_ok()
}

/// Creates the directory, unless it exists and is empty.
fn create_empty(directory: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::failed(format!("cannot create {}: {error}", directory.display()))
    };
    fs::create_dir_all(directory).map_err(failed)?;
    if fs::read_dir(directory).map_err(failed)?.next().is_some() {
        let failure = Failure::usage(format!("the directory {} is not empty", directory.display()));
        return Err(failure.remedy("choose a new directory"));
    }
    Ok(())
}

/// Keeps the program apart from a workspace around it: Cargo would refuse a package that is not one of its members.
fn workspace(directory: &Path) -> &'static str {
    let inside = directory
        .canonicalize()
        .is_ok_and(|path| path.ancestors().skip(1).any(|above| above.join("Cargo.toml").exists()));
    if inside {
        "\n# The package is not a member of the workspace around it.\n[workspace]\n"
    } else {
        ""
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written =
        path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_sorted_for_the_search() {
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn a_directory_gives_a_valid_name() {
        for (directory, name) in [
            ("greeter", "greeter"),
            ("My Program", "my-program"),
            ("2nd", "app-2nd"),
            ("_x", "app-_x"),
            ("match", "match-app"),
            ("capably-server", "capably-server-app"),
            ("Grüße", "gr--e"),
            ("…", "greeter"),
        ] {
            assert_eq!(valid_name(directory), name);
            assert!(checked(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn without_a_checkout_the_program_depends_on_the_published_version() {
        assert_eq!(Source::Published.dependency("capably").unwrap(), "\"0.1.0\"");
    }
}
