//! Tasks of the repository: `cargo xtask <task>`.

mod chores;
mod codes;
mod package;
mod plots;
mod pure;
mod sizes;
mod soak;
mod spec;

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "\
Usage: cargo xtask <task>

  codes                 generate the error codes of capably-protocol from xtask/data/error-codes.json
  codes <errors.json>   first update that file from ably-common's protocol/errors.json
  codes --check         fail if the generated file is out of date
  pure                  fail if a pure crate depends on a runtime, a socket, a clock or randomness
  spec                  print how much of the specification has a test; fail if a section has less than before
  spec --raise          make the present coverage the least that each section must have

  package               fail if a published crate, or its tests, do not build from its archive

  lint                  check formatting, clippy (default, no and all features) and docs; warnings are errors
  hours [seed]          run 1,000 simulated hours of drops and refusals, or only the hour of a seed
  interop               test the official clients against our server, and against our clients; needs Node.js
  bench                 run all benches

  plots                 draw the figures in docs/performance
  plots <figures.csv>   draw one file, as that of a soak
  plots --check         fail if a plot in docs/performance does not show its figures
  sizes [program...]    build the programs for release, and write their sizes into the README
  soak [seconds]        a mixed load with faults on `capably serve`, two hours long; fail if memory grows
  soak <figures.csv>    judge the figures of a run that has ended
";

/// The result of a task: the text to print, or the error.
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
        ["plots"] => plots::draw_all(&root),
        ["plots", "--check"] => plots::check(&root),
        ["plots", source] if !source.starts_with('-') => plots::draw(Path::new(source)),
        ["sizes", ref programs @ ..] => sizes::write(&root, programs),
        ["soak"] => soak::run(&root, None),
        ["soak", figures] if figures.ends_with(".csv") => soak::judge(Path::new(figures)),
        ["soak", seconds] => soak::run(&root, Some(seconds)),
        ["package"] => package::check(&root),
        _ => Err(USAGE.to_owned()),
    };
    // An error means that the output is closed: there is nowhere to report it.
    match outcome {
        Ok(text) => {
            let _ = writeln!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace. It is read at run time and not compiled in, because several clones may share a target
/// directory.
fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let workspace = here.and_then(|here| here.parent().map(Path::to_owned));
    workspace.unwrap_or_else(|| PathBuf::from("."))
}
