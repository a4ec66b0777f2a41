//! Output for people and for other programs.

use std::{
    fmt,
    io::{self, BufWriter, Stdout, Write},
};

use crate::{failure::Failure, visible::visible_json};

/// Standard output, buffered until [`Output::flush`].
///
/// Once its reader is gone, as with `| head`, every call returns [`Failure::OutputClosed`].
#[derive(Debug)]
pub(crate) struct Output(BufWriter<Stdout>);

impl Output {
    pub(crate) fn stdout() -> Self {
        Self(BufWriter::new(io::stdout()))
    }

    /// Writes a line. It may stay in the buffer.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.0, "{line}").map_err(Failure::from_output)
    }

    /// Writes a value of JSON as a line. It may stay in the buffer.
    ///
    /// Characters that could control a terminal are written as escapes of JSON, which mean the same to a parser.
    pub(crate) fn json(&mut self, value: impl fmt::Display) -> Result<(), Failure> {
        self.line(visible_json(&value.to_string()))
    }

    /// As [`json`](Self::json), and flushes.
    pub(crate) fn json_now(&mut self, value: impl fmt::Display) -> Result<(), Failure> {
        self.json(value)?;
        self.flush()
    }

    /// Writes a line, and flushes.
    pub(crate) fn line_now(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        self.line(line)?;
        self.flush()
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(Failure::from_output)
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(Failure::from_output)
    }
}

/// Writes a line to stderr, for text that is not the command's output. A closed stderr is ignored: the command goes on.
pub(crate) fn notice(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
