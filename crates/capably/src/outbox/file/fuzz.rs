//! A fuzz target of the log file of an outbox, for the crate in `fuzz/`.

use bytes::Bytes;

use super::{
    record::{Header, RecordWriter},
    scan::{salvage, scan},
};

/// A file. The first byte tells what the rest is: the file as it is; or the records of a file, whose checksums the target
/// adds. Each has a byte with its kind, a byte with its length, and its fields.
pub fn outbox_file(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let file: Bytes = match choice % 2 {
        0 => data.to_vec().into(),
        _ => written(data).into(),
    };
    let _ = salvage(&file);
    if let Ok(scanned) = scan(&file) {
        assert!(scanned.end <= file.len() as u64);
        // What is left of the file when its end is cut off reads the same.
        let kept = scan(&file.slice(..scanned.end as usize)).expect("the valid part is valid");
        assert_eq!(format!("{:?}", kept.contents), format!("{:?}", scanned.contents));
    }
}

fn written(mut data: &[u8]) -> Vec<u8> {
    let header = Header { next_seq: 1, salt: 7 };
    let mut out = header.encode().to_vec();
    let mut writer = RecordWriter { salt: 7, offset: out.len() as u64, synced: 0, out: Vec::new() };
    while let [kind, length, rest @ ..] = data {
        let (fields, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        writer.raw(*kind, fields);
        data = rest;
    }
    out.append(&mut writer.out);
    out
}
