//! `capably completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, failure::Failure, output::Output};

/// Print a script for shell completion of this command
#[derive(Debug, Args)]
#[command(after_help = "\
Save the script where your shell looks for completions.

Examples:
  capably completions bash > ~/.local/share/bash-completion/completions/capably
  capably completions fish > ~/.config/fish/completions/capably.fish
  capably completions zsh > \"${fpath[1]}/_capably\"")]
pub(crate) struct Completions {
    /// Shell to print the script for
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<(), Failure> {
        // Written to memory first: the generator panics when its output fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "capably", &mut script);
        let mut output = Output::stdout();
        output.bytes(&script)?;
        output.flush()
    }
}
