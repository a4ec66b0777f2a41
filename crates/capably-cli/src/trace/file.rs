//! The file of a recording.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use super::{Event, Line, VERSION};
use crate::{clock, failure::Failure};

/// Writes a recording. Each line is in the file before the next event passes: a crash loses nothing before it.
#[derive(Debug)]
pub(crate) struct Writer {
    file: Mutex<Target>,
    start: Instant,
}

#[derive(Debug)]
struct Target {
    file: File,
    /// The first error. Nothing is written after it.
    error: Option<io::Error>,
    /// The last line is written.
    finished: bool,
}

impl Writer {
    /// Makes the file; a file that exists is not overwritten unless `force` is given.
    pub(crate) fn create(path: &Path, force: bool, service: &str) -> Result<Self, Failure> {
        let mut options = File::options();
        options.write(true);
        match force {
            true => options.create(true).truncate(true),
            false => options.create_new(true),
        };
        let file = options.open(path).map_err(|error| {
            let failure = Failure::failed(format!("cannot create {}: {error}", path.display()));
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    failure.remedy("choose another name, or overwrite the file with --force")
                }
                _ => failure,
            }
        })?;
        let target = Mutex::new(Target { file, error: None, finished: false });
        let writer = Self { file: target, start: Instant::now() };
        writer.write(Event::Start {
            capably: env!("CARGO_PKG_VERSION").to_owned(),
            version: VERSION,
            service: service.to_owned(),
            timestamp: clock::now(),
        });
        Ok(writer)
    }

    /// Writes an event. The time is taken under the lock, so that times never go back.
    pub(crate) fn write(&self, event: Event) {
        let mut target = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if target.error.is_some() || target.finished {
            return;
        }
        target.finished = event == Event::End;
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let written = serde_json::to_string(&Line { ms, event }).map_err(io::Error::other);
        let written = written.and_then(|line| target.file.write_all((line + "\n").as_bytes()));
        target.error = written.err();
    }

    /// Writes the last line. An error is the first that any line had.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        self.write(Event::End);
        let mut target = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match target.error.take() {
            None => Ok(()),
            Some(error) => Err(Failure::failed(format!("cannot write the recording: {error}"))
                .remedy(
                    "the events before the error are in the file; make room, and record again",
                )),
        }
    }
}

/// A recording that was read.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) service: String,
    pub(crate) timestamp: i64,
    pub(crate) lines: Vec<Line>,
    /// The damage in the rest of the file, after the events that could be read.
    pub(crate) damage: Option<String>,
}

impl Recording {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or is no recording. Damage after the first line is no error: what comes before it is
    /// whole, and the damage is described.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::failed(format!("cannot read {name}: {error}")))?;
        Self::parse(&bytes).map_err(|why| {
            Failure::failed(format!("{name} {why}"))
                .remedy("use a file that `capably record` has written")
        })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("is empty".to_owned());
        }
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').zip(1..);
        let first = lines.next().and_then(|(line, _)| serde_json::from_slice(line).ok());
        let (service, timestamp) = match first {
            Some(Line { event: Event::Start { version, service, timestamp, .. }, .. }) => {
                if version > VERSION {
                    return Err(format!(
                        "is a recording of version {version}, and this command reads version {VERSION}"
                    ));
                }
                (service, timestamp)
            }
            _ => return Err("is no recording".to_owned()),
        };
        let mut recording = Self { service, timestamp, lines: Vec::new(), damage: None };
        for (line, number) in lines {
            match serde_json::from_slice::<Line>(line) {
                Ok(Line { event: Event::End, .. }) => return Ok(recording),
                Ok(line) => recording.lines.push(line),
                Err(_) if !line.ends_with(b"\n") => break,
                Err(error) => {
                    recording.damage = Some(format!("line {number} is damaged: {error}"));
                    return Ok(recording);
                }
            }
        }
        recording.damage = Some("the recording was cut off".to_owned());
        Ok(recording)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str =
        r#"{"ms":0,"event":"start","capably":"0.1.0","version":1,"service":"h:1","timestamp":5}"#;

    fn parse(text: &str) -> Result<(usize, Option<String>), String> {
        let recording = Recording::parse(text.as_bytes())?;
        Ok((recording.lines.len(), recording.damage))
    }

    #[test]
    fn what_is_whole_of_a_damaged_recording_is_read() {
        let opened = r#"{"ms":1,"event":"opened","connection":1}"#;
        let end = r#"{"ms":2,"event":"end"}"#;
        assert_eq!(parse(&format!("{START}\n{opened}\n{end}\n")), Ok((1, None)));
        let cut_off = Some("the recording was cut off".to_owned());
        assert_eq!(parse(&format!("{START}\n{opened}\n")), Ok((1, cut_off.clone())));
        assert_eq!(parse(&format!("{START}\n{opened}\n{}", &opened[..20])), Ok((1, cut_off)));
        let (whole, damage) = parse(&format!("{START}\n{opened}\nxx\n{opened}\n{end}\n")).unwrap();
        assert_eq!(whole, 1);
        assert!(damage.unwrap().starts_with("line 3 is damaged: "));
        assert_eq!(parse(""), Err("is empty".to_owned()));
        assert_eq!(parse("{}\n"), Err("is no recording".to_owned()));
        assert_eq!(parse("\x7fELF\0\u{0}"), Err("is no recording".to_owned()));
        let newer = parse(&START.replace("\"version\":1", "\"version\":2"));
        assert!(newer.unwrap_err().starts_with("is a recording of version 2,"));
    }
}
