//! Ctrl-C and the signal to terminate.

use std::io;

use capably::Realtime;

use crate::{failure::Failure, output::Output};

#[cfg(unix)]
use tokio::signal::unix::{self, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlBreak, CtrlC, ctrl_break, ctrl_c};

/// Runs work that has no end, until Ctrl-C or until it fails. Then the client that the work has connected is closed, and
/// the output flushed.
pub(crate) async fn until_interrupted(
    work: impl AsyncFnOnce(&mut Option<Realtime>, &mut Output) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let mut output = Output::stdout();
    let mut client = None;
    let result = tokio::select! {
        result = work(&mut client, &mut output) => result,
        _ = interrupts.next() => Ok(()),
    };
    if let Some(client) = client {
        client.connection().close().await;
    }
    result.and(output.flush())
}

/// A signal to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The request of a service manager: SIGTERM, or Ctrl-Break on Windows.
    Terminate,
}

/// The signals to end. After [`Interrupts::listen`], Ctrl-C does not end the process by itself.
#[derive(Debug)]
pub(crate) struct Interrupts {
    #[cfg(unix)]
    signals: (unix::Signal, unix::Signal),
    #[cfg(windows)]
    signals: (CtrlC, CtrlBreak),
}

impl Interrupts {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let signals = || -> io::Result<_> {
            #[cfg(unix)]
            return Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
            #[cfg(windows)]
            return Ok((ctrl_c()?, ctrl_break()?));
        };
        let failed = |e| Failure::failed(format!("cannot listen for signals: {e}"));
        Ok(Self { signals: signals().map_err(failed)? })
    }

    /// Waits for the next signal to end.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.signals.0.recv() => Signal::Interrupt,
            _ = self.signals.1.recv() => Signal::Terminate,
        }
    }
}
