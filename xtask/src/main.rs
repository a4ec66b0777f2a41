//! Chores of the repository, run as `cargo xtask <chore>`.

mod chores;
mod codes;
mod pure;
mod spec;

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "\
Usage: cargo xtask <chore>

  codes                 generate the error codes of capably-protocol from xtask/data/error-codes.json
  codes <errors.json>   first renew that file from ably-common's protocol/errors.json
  codes --check         fail if the generated file is not what `codes` would write
  pure                  fail if a pure crate depends on a runtime, a socket, a clock or randomness
  spec                  how much of the specification has a test; fail if a section has fallen
  spec --raise          make today's coverage what no section may fall below

  lint                  formatting, clippy with default, no and all features, docs; warnings are errors
  hours [seed]          1,000 hours of drops and refusals in virtual time, or the one of a seed
  interop               other people's clients against our server and our clients; needs Node.js
  bench                 every bench
";

/// What a chore returns: what to say when it went well, or what went wrong.
type Outcome = Result<String, String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root();
    let outcome = match arguments[..] {
        ["codes"] => codes::generate(&root),
        ["codes", "--check"] => codes::check(&root),
        ["codes", source] if !source.starts_with('-') => codes::renew(&root, Path::new(source)),
        ["pure"] => pure::check(&root),
        ["spec"] => spec::check(&root),
        ["spec", "--raise"] => spec::raise(&root),
        ["lint"] => chores::lint(&root),
        ["hours"] => chores::hours(&root, None),
        ["hours", seed] => chores::hours(&root, Some(seed)),
        ["interop"] => chores::interop(&root),
        ["bench"] => chores::bench(&root),
        _ => Err(USAGE.to_owned()),
    };
    // Nobody is left to tell when the output is closed.
    match outcome {
        Ok(said) => {
            let _ = writeln!(io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace: of the one that is run, as several clones may share a target directory.
fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let workspace = here.and_then(|here| here.parent().map(Path::to_owned));
    workspace.unwrap_or_else(|| PathBuf::from("."))
}
