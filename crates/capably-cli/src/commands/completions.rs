//! `capably completions`.

use clap::{Args, builder::PossibleValuesParser};
use serde_json::json;

use crate::{complete, failure::Failure, output::Output};

/// Print a script for shell completion of this command
#[derive(Debug, Args)]
#[command(after_help = "\
Save the script where your shell looks for completions. Besides commands and options, it
completes error codes and the names of channels in use: it asks the service for them, with
the key of the line or of the environment, for a second at most. In zsh, the directory of
the script must be in fpath before compinit runs.

Examples:
  capably completions bash > ~/.local/share/bash-completion/completions/capably
  capably completions fish > ~/.config/fish/completions/capably.fish
  capably completions zsh > ~/.zfunc/_capably")]
pub(crate) struct Completions {
    /// Shell to print the script for
    #[arg(value_parser = PossibleValuesParser::new(complete::shells().names()))]
    shell: String,

    /// Print one JSON object with the shell and its script
    #[arg(long)]
    json: bool,
}

impl Completions {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let script = complete::script(&self.shell)
            .ok_or_else(|| Failure::usage(format!("there is no script for {}", self.shell)))?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!({ "shell": self.shell, "script": script }))?;
        } else {
            output.bytes(script.as_bytes())?;
        }
        output.flush()
    }
}
