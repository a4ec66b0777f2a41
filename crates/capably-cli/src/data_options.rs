//! The options of commands that send a payload.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use capably::Data;
use clap::Args;
use serde_json::Value;

use crate::{
    failure::Failure,
    output::notice,
    payload::{self, Form},
};

/// The form of a payload, and the file to read it from.
#[derive(Debug, Args)]
pub(crate) struct DataOptions {
    /// Send the data as JSON; it must be an object or an array
    #[arg(long, conflicts_with = "binary")]
    pub(crate) data_json: bool,

    /// Send the data as binary; on the command line it must be base64, a file is sent as it is
    #[arg(long)]
    pub(crate) binary: bool,

    /// Read the data from a file; `-` is standard input
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
}

impl DataOptions {
    pub(crate) fn form(&self) -> Form {
        match (self.data_json, self.binary, self.file.is_some()) {
            (true, _, _) => Form::Json,
            (false, true, true) => Form::Bytes,
            (false, true, false) => Form::Base64,
            (false, false, _) => Form::Text,
        }
    }

    /// As [`note_text`], for data of the command line.
    pub(crate) fn note(&self, json: bool, word: Option<&str>) {
        note_text(json, self.form(), word.unwrap_or_default());
    }

    /// The payload: of the command line, or of the file; none without either.
    ///
    /// # Errors
    /// Wrong usage for both, and for a payload that is not of its form.
    pub(crate) fn read(&self, word: Option<&str>) -> Result<Option<Data>, Failure> {
        let bytes = match (word, &self.file) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage("the data is given twice")
                    .remedy("give <DATA> or --file, not both"));
            }
            (Some(word), None) => word.as_bytes().to_vec(),
            (None, Some(path)) => read_file(path)?,
            (None, None) => return Ok(None),
        };
        payload::read(self.form(), bytes).map(Some).map_err(Failure::usage)
    }
}

/// Says on stderr that text was sent which is JSON. `--json` is about the output, and some take it for `--data-json`.
pub(crate) fn note_text(json: bool, form: Form, text: &str) {
    let is_json = || serde_json::from_str::<Value>(text).is_ok_and(|value| !value.is_string());
    if json && form == Form::Text && is_json() {
        notice("The data is sent as text: --json is about the output, and --data-json sends JSON");
    }
}

/// Reads a file; `-` is standard input.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    bytes.map_err(|e| Failure::failed(format!("cannot read {}: {e}", path.display())))
}
