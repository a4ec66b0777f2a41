//! The changes that a log makes to the file system: the place where tests let a disk fail.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Writes all bytes at the file's position.
pub(super) fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    if let Err(error) = faults::check(faults::Step::Grow) {
        // A disk that becomes full takes a part.
        let _ = file.write_all(&bytes[..bytes.len() / 2]);
        return Err(error);
    }
    file.write_all(bytes)
}

/// Syncs the contents of a file, and its length.
pub(super) fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    faults::check(faults::Step::Grow)?;
    file.sync_data()
}

/// Cuts a file off at this length.
pub(super) fn cut(file: &File, length: u64) -> io::Result<()> {
    #[cfg(test)]
    faults::check(faults::Step::Change)?;
    file.set_len(length)
}

/// Gives a file the name of another one, which it replaces.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::check(faults::Step::Change)?;
    fs::rename(from, to)
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::check(faults::Step::Change)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a rename survive a crash of the machine.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(test)]
    faults::check(faults::Step::Grow)?;
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// Failures of the disk, for the test on this thread.
#[cfg(test)]
pub(super) mod faults {
    use std::{cell::Cell, io, ops::Range};

    /// What a step needs of the disk.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Step {
        /// Space.
        Grow,
        /// Only the right to write.
        Change,
    }

    /// Which steps fail, and how.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) enum Fault {
        /// The disk is full.
        Full,
        /// The disk is read-only, or gone.
        ReadOnly,
    }

    thread_local! {
        static PLAN: Cell<Option<(Fault, usize, usize)>> = const { Cell::new(None) };
        static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    /// Lets the steps with these numbers fail, from now on.
    pub(in super::super) fn plan(fault: Fault, steps: Range<usize>) {
        PLAN.set(Some((fault, steps.start, steps.end)));
        STEPS.set(0);
    }

    /// Ends the failures. Returns the number of steps since the plan.
    pub(in super::super) fn heal() -> usize {
        PLAN.set(None);
        STEPS.take()
    }

    pub(super) fn check(step: Step) -> io::Result<()> {
        let number = STEPS.replace(STEPS.get() + 1);
        let Some((fault, start, end)) = PLAN.get() else { return Ok(()) };
        if !(start..end).contains(&number) {
            return Ok(());
        }
        match (fault, step) {
            (Fault::Full, Step::Change) => Ok(()),
            (Fault::Full, Step::Grow) => Err(io::ErrorKind::StorageFull.into()),
            (Fault::ReadOnly, _) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }
}
