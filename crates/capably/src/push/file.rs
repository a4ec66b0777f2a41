//! A device in a file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use capably_core::push::MAX_STORED;
use capably_protocol::ErrorCode;

use super::PushStorage;
use crate::{Error, Result};

/// A storage in a file, which only the user of the process can read.
///
/// A new content is written to a file beside it, with the ending `.new`, synced, and renamed: a crash leaves the old or
/// the new content. The directory is created if it does not exist.
///
/// ```
/// use capably::push::{FilePushStorage, PushStorage};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("app").join("push-device.json");
/// let storage = FilePushStorage::new(path);
/// assert_eq!(storage.load()?, None);
/// storage.store(b"content")?;
/// assert_eq!(storage.load()?.as_deref(), Some(b"content".as_slice()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FilePushStorage {
    path: PathBuf,
}

impl FilePushStorage {
    /// A storage in this file. Nothing is read or written before the device is used.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn write(&self, content: &[u8]) -> io::Result<()> {
        let directory = directory(&self.path);
        fs::create_dir_all(directory)?;
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        // A file of an earlier crash may have other permissions.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = private().open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, &self.path)?;
        // Makes the rename survive a crash of the machine.
        if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
    }
}

impl PushStorage for FilePushStorage {
    /// # Errors
    /// Code 50000 with the system's error.
    fn load(&self) -> Result<Option<Vec<u8>>> {
        match read(&self.path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &self.path, error)),
        }
    }

    /// # Errors
    /// Code 50000 with the system's error.
    fn store(&self, content: &[u8]) -> Result<()> {
        self.write(content).map_err(|error| failed("write", &self.path, error))
    }
}

/// Reads the file, but not more of it than is needed to see that it is too long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_STORED as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// Options for a new file that only its owner can read and write.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

fn failed(action: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("could not {action} the push device in {}: {error}", path.display());
    Error::new(ErrorCode::INTERNAL_ERROR, 0, message)
        .with_remedy("let the process write to the directory, and check the disk")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage() -> (tempfile::TempDir, FilePushStorage) {
        let directory = tempfile::tempdir().unwrap();
        let storage = FilePushStorage::new(directory.path().join("a").join("device"));
        (directory, storage)
    }

    #[test]
    fn a_content_replaces_the_one_before_as_a_whole() {
        let (_directory, storage) = storage();
        assert_eq!(storage.load().unwrap(), None);
        storage.store(b"a long content").unwrap();
        // What a crash in the middle of a write has left behind.
        let new = storage.path.with_extension("new");
        fs::write(&new, b"half").unwrap();
        assert_eq!(storage.load().unwrap().unwrap(), b"a long content");
        storage.store(b"short").unwrap();
        assert_eq!(storage.load().unwrap().unwrap(), b"short");
        assert!(!new.exists());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let (_directory, storage) = storage();
        storage.store(b"first").unwrap();
        fs::set_permissions(&storage.path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(storage.path.with_extension("new"), b"half").unwrap();
        storage.store(b"second").unwrap();
        let mode = fs::metadata(&storage.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_written_or_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        // A directory in the place of the file, and a file in the place of the directory.
        let taken = FilePushStorage::new(directory.path());
        let beside = directory.path().join("file");
        fs::write(&beside, b"").unwrap();
        let below = FilePushStorage::new(beside.join("device"));
        for error in [
            taken.load().unwrap_err(),
            taken.store(b"content").unwrap_err(),
            below.store(b"content").unwrap_err(),
        ] {
            assert_eq!(error.code().0, 50000, "{error}");
            assert!(error.remediation().is_some());
        }
    }

    #[test]
    fn a_long_file_is_not_read_to_its_end() {
        let (_directory, storage) = storage();
        storage.store(&vec![b' '; 2 * MAX_STORED]).unwrap();
        assert_eq!(storage.load().unwrap().unwrap().len(), MAX_STORED + 1);
    }

    #[test]
    fn a_file_without_a_directory_is_in_the_current_one() {
        assert_eq!(directory(Path::new("device")), Path::new("."));
        assert_eq!(directory(Path::new("a/device")), Path::new("a"));
    }
}
