//! Ctrl-C, and being asked to terminate.

use std::io;

use crate::failure::Failure;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlBreak, CtrlC, ctrl_break, ctrl_c};

/// From [`Interrupts::listen`] on, Ctrl-C no longer ends the process.
#[derive(Debug)]
pub(crate) struct Interrupts {
    #[cfg(unix)]
    signals: (Signal, Signal),
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

    /// Resolves when the process is asked to end.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.signals.0.recv() => {}
            _ = self.signals.1.recv() => {}
        }
    }
}
