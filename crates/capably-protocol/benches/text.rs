//! The cost of [`Str`], `ByteString` and `String` for the strings of a frame.
//!
//! The result decides whether `Str` stays: see docs/decisions.md.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    hint::black_box,
};

use bytes::Bytes;
use bytestring::ByteString;
use capably_protocol::Str;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// The strings of a MESSAGE as the service sends it: ids, names, serials, a payload.
const FRAME: [&str; 9] = [
    "OIydMVjHGf:12",
    "notifications",
    "e1da4NR6wBvHvS40131893:12",
    "OIydMVjHGf",
    "greeting",
    "xxxxxxxxxxxxxxxxxxxx",
    "01700000000000-000@e1da4NR6wBvHvS40131893:012",
    "01700000000000-000@e1da4NR6wBvHvS40131893:012",
    "ada",
];

/// Each string as a slice of one frame.
fn slices(frame: &Bytes) -> Vec<Bytes> {
    let mut start = 0;
    FRAME
        .iter()
        .map(|text| {
            start += text.len();
            frame.slice(start - text.len()..start)
        })
        .collect()
}

fn compare<T: Clone + Eq + Hash>(
    c: &mut Criterion,
    name: &str,
    read: impl Fn(&Bytes, &Bytes) -> T,
) {
    // Shared already, as the WebSocket library hands frames over; room behind the last string, as in a frame.
    let frame = Bytes::from([FRAME.concat().into_bytes(), vec![0; 64]].concat());
    let _shared = frame.clone();
    let parts = slices(&frame);
    // The size is part of the name, so that it stands in the report beside the times.
    let name = format!("{name}_of_{}_bytes", size_of::<T>());
    let mut group = c.benchmark_group("strings_of_a_frame");
    let mut texts: Vec<T> = Vec::with_capacity(FRAME.len());
    group.bench_function(BenchmarkId::new("decode", &name), |b| {
        b.iter(|| {
            texts.clear();
            texts.extend(black_box(&parts).iter().map(|part| read(&frame, part)));
            black_box(texts.len())
        });
    });
    let texts: Vec<T> = parts.iter().map(|part| read(&frame, part)).collect();
    let mut clones: Vec<T> = Vec::with_capacity(FRAME.len());
    group.bench_function(BenchmarkId::new("clone", &name), |b| {
        b.iter(|| {
            clones.clear();
            clones.extend(black_box(&texts).iter().cloned());
            black_box(clones.len())
        });
    });
    let others = texts.clone();
    group.bench_function(BenchmarkId::new("compare", &name), |b| {
        b.iter(|| black_box(&texts) == black_box(&others));
    });
    group.bench_function(BenchmarkId::new("hash", &name), |b| {
        b.iter(|| {
            let mut hasher = DefaultHasher::new();
            black_box(&texts).iter().for_each(|text| text.hash(&mut hasher));
            hasher.finish()
        });
    });
    group.finish();
}

fn texts(c: &mut Criterion) {
    compare(c, "Str", |frame, part| Str::from_slice_of(frame, part).unwrap());
    compare(c, "ByteString", |frame, part| ByteString::try_from(frame.slice_ref(part)).unwrap());
    compare(c, "String", |_, part| str::from_utf8(part).unwrap().to_owned());
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = texts
}
criterion_main!(benches);
