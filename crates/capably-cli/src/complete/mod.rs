//! Shell completion. The script of a shell calls this command for each completion, with the words of the line.

mod bash;
mod channels;
mod codes;

use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{
    engine::ArgValueCompleter,
    env::{CompleteEnv, Elvish, Fish, Powershell, Shells, Zsh},
};

use self::bash::Bash;
use crate::Cli;

/// The variable in which a script names its shell.
const VARIABLE: &str = "CAPABLY_COMPLETE";

const NAME: &str = "capably";

/// The shells that there are scripts for.
pub(crate) fn shells() -> Shells<'static> {
    Shells(&[&Bash, &Elvish, &Fish, &Powershell, &Zsh])
}

/// The script for a shell; `None` if there is none for a shell of this name.
pub(crate) fn script(shell: &str) -> Option<String> {
    let (shells, mut script) = (shells(), Vec::new());
    let shell = shells.completer(shell)?;
    // A write to memory does not fail.
    shell.write_registration(VARIABLE, NAME, NAME, NAME, &mut script).ok()?;
    let mut script = String::from_utf8(script).ok()?;
    if shell.name() == "zsh" {
        // In a directory of `fpath`, the file is the function that zsh calls for the first completion.
        script.push_str("\nif [[ ${funcstack[1]-} == _capably ]]; then\n");
        script.push_str("    _clap_dynamic_completer_capably \"$@\"\nfi\n");
    }
    Some(script)
}

/// Answers the script of a shell. `None` if the caller is no such script.
pub(crate) fn answer() -> Option<ExitCode> {
    let environment = CompleteEnv::with_factory(|| with_values(Cli::command()));
    let environment = environment.var(VARIABLE).bin(NAME).completer(NAME).shells(shells());
    // There is nobody to read an error: the user is in the middle of a line.
    match environment.try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// The command line, with the values that are not in its definition: channels and error codes.
fn with_values(command: Command) -> Command {
    let arguments = |argument: clap::Arg| match argument.get_id().as_str() {
        "channel" | "channels" => argument.add(ArgValueCompleter::new(channels::complete)),
        "wanted" => argument.add(ArgValueCompleter::new(codes::complete)),
        _ => argument,
    };
    command.mut_args(arguments).mut_subcommands(with_values)
}
