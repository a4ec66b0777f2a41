//! Runs schedules: `capably-sim --schedules 1000000 --seed 0 --threads 2`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

use std::{collections::BTreeMap, panic, process::ExitCode, thread, time::Instant};

use capably_sim::{Script, draw, shrink, sweep, trace};

const HELP: &str = "\
Runs clients and the server of capably in virtual time, over a network that fails.

Usage: capably-sim [--schedules N] [--seed S] [--threads T] [--shrink N]
       capably-sim --trace S
       capably-sim --story FILE

Options:
  --schedules N  Run so many schedules [default: 2000]
  --seed S       Begin with this seed [default: 0]
  --threads T    Use so many threads [default: one for each core]
  --shrink N     Shrink so many of the failures of each rule to a story [default: 1]
  --trace S      Print the script of a seed, and everything that happens
  --story FILE   Run the script in a file, and print everything that happens
";

/// The options of a run.
struct Options {
    schedules: u64,
    seed: u64,
    threads: usize,
    shrink: usize,
}

fn main() -> ExitCode {
    // Failures are reported as what a schedule has found.
    panic::set_hook(Box::new(|_| {}));
    match command() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// Runs the command. Returns whether every schedule has kept the rules.
fn command() -> Result<bool, String> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options { schedules: 2000, seed: 0, threads, shrink: 1 };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        if name == "--help" {
            println!("{HELP}");
            return Ok(true);
        }
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{name}: {value} is no number"));
        match &*name {
            "--schedules" => options.schedules = number()?,
            "--seed" => options.seed = number()?,
            "--threads" => options.threads = usize::try_from(number()?).unwrap_or(1).max(1),
            "--shrink" => options.shrink = usize::try_from(number()?).unwrap_or(0),
            "--trace" => return Ok(show(&draw(number()?))),
            "--story" => {
                let text =
                    std::fs::read_to_string(&value).map_err(|it| format!("{value}: {it}"))?;
                let script =
                    text.parse().map_err(|line| format!("cannot read the line `{line}`"))?;
                return Ok(show(&script));
            }
            other => return Err(format!("there is no option {other}")),
        }
    }
    Ok(run_all(&options))
}

/// Runs a script with all that happens.
fn show(script: &Script) -> bool {
    println!("{script}");
    match trace(script) {
        Ok(()) => true,
        Err(failure) => {
            println!("{failure}");
            false
        }
    }
}

fn run_all(options: &Options) -> bool {
    let started = Instant::now();
    let end = options.seed.saturating_add(options.schedules);
    let failures = sweep(options.seed..end, options.threads);
    let seconds = started.elapsed().as_secs_f64();
    let rate = options.schedules as f64 / seconds;
    println!(
        "{} schedules in {seconds:.1} s, {rate:.0} a second: {} failed",
        options.schedules,
        failures.len()
    );
    let mut rules = BTreeMap::<&str, Vec<u64>>::new();
    for (seed, failure) in &failures {
        rules.entry(&failure.rule).or_default().push(*seed);
    }
    for (rule, seeds) in &rules {
        println!("\nrule `{rule}`: {} schedules", seeds.len());
        for seed in seeds.iter().take(5) {
            println!("  seed {seed}: {}", failures[seed].what);
        }
        for seed in seeds.iter().take(options.shrink) {
            if let Some((script, failure)) = shrink(&draw(*seed)) {
                println!("\nthe story of seed {seed}:\n\n{script}\n{failure}");
            }
        }
    }
    failures.is_empty()
}
