//! The file of a recording.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::Value;

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
        let (service, timestamp) =
            lines.next().map_or_else(|| Ok(Default::default()), |(line, _)| start(line))?;
        let mut recording = Self { service, timestamp, lines: Vec::new(), damage: None };
        while let Some((line, number)) = lines.next() {
            match serde_json::from_slice::<Line>(line) {
                Ok(Line { event: Event::End, .. }) => {
                    if lines.next().is_some() {
                        let damage =
                            format!("line {} follows the end of the recording", number + 1);
                        recording.damage = Some(damage);
                    }
                    return Ok(recording);
                }
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

/// The service and the time of the first line.
fn start(line: &[u8]) -> Result<(String, i64), String> {
    const BEGIN: &[u8] = b"{\"ms\":";
    let value = match serde_json::from_slice::<Value>(line) {
        Ok(value) if value["event"] == "start" => value,
        // The text of a whole line ends with its newline.
        Err(_)
            if !line.ends_with(b"\n") && (line.starts_with(BEGIN) || BEGIN.starts_with(line)) =>
        {
            return Err("was cut off in its first line".to_owned());
        }
        _ => return Err("is no recording".to_owned()),
    };
    // The version comes first: another one may have other fields.
    let version = value["version"].as_u64();
    if let Some(version) = version.filter(|version| *version != u64::from(VERSION)) {
        return Err(format!(
            "is a recording of version {version}, and this command reads version {VERSION}"
        ));
    }
    match serde_json::from_value(value) {
        Ok(Line { event: Event::Start { service, timestamp, .. }, .. }) => Ok((service, timestamp)),
        Ok(_) => Err("is no recording".to_owned()),
        Err(error) => Err(format!("is damaged in its first line: {error}")),
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
        assert_eq!(parse("not JSON"), Err("is no recording".to_owned()));
        for version in ["0", "2", "99999999999"] {
            let other = START.replace("\"version\":1", &format!("\"version\":{version}"));
            // Another version may lack a field of this one.
            for other in [other.clone(), other.replace(r#","service":"h:1""#, "")] {
                let expected = format!(
                    "is a recording of version {version}, and this command reads version 1"
                );
                assert_eq!(parse(&other), Err(expected));
            }
        }
        let without = parse(&START.replace(r#","timestamp":5"#, "")).unwrap_err();
        assert!(without.starts_with("is damaged in its first line: "), "{without}");
        let more = parse(&format!("{START}\n{end}\n{opened}\n")).unwrap();
        assert_eq!(more, (0, Some("line 3 follows the end of the recording".to_owned())));
    }

    #[test]
    fn a_recording_that_is_cut_off_anywhere_says_so() {
        let opened = r#"{"ms":1,"event":"opened","connection":1}"#;
        let text = format!("{START}\n{opened}\n{opened}\n{}\n", r#"{"ms":2,"event":"end"}"#);
        for length in 0..text.len() - 1 {
            let expected = match length {
                0 => Err("is empty".to_owned()),
                _ if length < START.len() => Err("was cut off in its first line".to_owned()),
                _ => {
                    // A last line without its newline is whole if its object is.
                    let whole = format!("{}\n", &text[..length])
                        .matches("opened\",\"connection\":1}\n")
                        .count();
                    Ok((whole, Some("the recording was cut off".to_owned())))
                }
            };
            assert_eq!(parse(&text[..length]), expected, "{length}");
        }
        assert_eq!(parse(&text[..text.len() - 1]), Ok((2, None)));
    }

    #[test]
    fn damage_of_any_byte_is_an_error_or_is_described_or_changes_a_text() {
        let opened = r#"{"ms":1,"event":"opened","connection":1}"#;
        let text = format!("{START}\n{opened}\n{}\n", r#"{"ms":2,"event":"end"}"#);
        for at in 0..text.len() {
            for byte in [0, b'"', b'}', b'\n', 0xff] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = byte;
                if let Ok(recording) = Recording::parse(&bytes)
                    && recording.damage.is_none()
                {
                    assert_eq!(recording.lines.len(), 1, "{}", String::from_utf8_lossy(&bytes));
                }
            }
        }
    }
}
