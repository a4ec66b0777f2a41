//! `capably man`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man as Page;
use serde_json::json;

use crate::{Cli, failure::Failure, output::Output};

/// Print the manual page of a command, or write the pages of all commands
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  capably man | man -l -
  capably man objects watch | man -l -
  capably man --dir ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Command to print the page of, such as `publish` or `objects watch` [default: capably itself]
    command: Vec<String>,

    /// Write the pages of all commands to this directory, which is created if it does not exist
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "command")]
    dir: Option<PathBuf>,

    /// Print one JSON object: the command and its page, or the directory and the number of pages
    #[arg(long)]
    json: bool,
}

impl Man {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut root = Cli::command();
        root.build();
        let mut output = Output::stdout();
        if let Some(directory) = &self.dir {
            let count = write_all(directory, &root).map_err(|error| {
                Failure::failed(format!("cannot write to {}: {error}", directory.display()))
            })?;
            return match self.json {
                true => output.json_now(json!({ "directory": directory, "pages": count })),
                false => {
                    output.line_now(format_args!("Wrote {count} pages to {}", directory.display()))
                }
            };
        }
        let mut command = &root;
        for name in &self.command {
            command = command.find_subcommand(name).ok_or_else(|| {
                Failure::usage(format!("there is no command {}", self.command.join(" ")))
                    .remedy("`capably --help` lists the commands")
            })?;
        }
        let page = page(command).map_err(Failure::from_output)?;
        if self.json {
            let page = String::from_utf8_lossy(&page);
            output.json(json!({ "command": name(command), "page": page }))?;
        } else {
            output.bytes(&page)?;
        }
        output.flush()
    }
}

/// Writes the pages of a command and of its subcommands. Returns how many.
fn write_all(directory: &Path, command: &Command) -> io::Result<usize> {
    fs::create_dir_all(directory)?;
    let mut count = 0;
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        fs::write(directory.join(format!("{}.1", name(command))), page(command)?)?;
        count += 1;
        let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
        left.extend(command.get_subcommands().filter(shown));
    }
    Ok(count)
}

/// The page of a command, in the language of manual pages.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Page::new(command.clone()).render(&mut page)?;
    Ok(page)
}

/// The name of a page: the words of the command with hyphens between them.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}
