//! The faults that a run has found.

use std::{process::ExitCode, sync::Mutex};

/// Faults beyond this many are counted, not printed.
const PRINTED: usize = 40;

pub(crate) struct Findings {
    faults: Mutex<Vec<String>>,
}

impl Findings {
    pub(crate) fn new() -> Self {
        Self { faults: Mutex::new(Vec::new()) }
    }

    pub(crate) fn fault(&self, fault: String) {
        let mut faults = self.faults.lock().unwrap();
        // At once: a later step may panic.
        if faults.len() < PRINTED {
            println!("- {fault}");
        }
        faults.push(fault);
    }

    pub(crate) fn report(&self) -> ExitCode {
        let faults = self.faults.lock().unwrap();
        if faults.is_empty() {
            println!("no faults");
            return ExitCode::SUCCESS;
        }
        println!("{} FAULTS", faults.len());
        ExitCode::FAILURE
    }
}
