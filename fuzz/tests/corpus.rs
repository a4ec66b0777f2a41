//! Every target reads its corpus, whole and changed at random: what the fuzzer does, without its compiler and its patience.

use std::{fs, path::Path};

use capably_fuzz::TARGETS;
use fastrand::Rng;

/// How many changed copies of each file are read.
const COPIES: usize = 300;

#[test]
fn every_target_survives_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let mut seeds: Vec<Vec<u8>> = fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("the corpus of {name}: {error}"))
            .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
            .collect();
        assert!(!seeds.is_empty(), "{name} has no corpus");
        seeds.sort();
        let mut random = Rng::with_seed(7);
        for seed in &seeds {
            target(seed);
            for _ in 0..COPIES {
                target(&changed(seed, &seeds, &mut random));
            }
        }
    }
}

/// A copy with a few changes of the kinds that break parsers.
fn changed(seed: &[u8], seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(0..=bytes.len());
        let end = random.usize(at..=bytes.len().min(at + 40));
        match random.u8(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            1 if at < bytes.len() => bytes[at] = random.choice([0, 0x7f, 0x80, 0xff]).expect("one"),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            5 => bytes.insert(at, random.u8(..)),
            _ => {
                let other = random.choice(seeds).expect("a seed");
                let from = random.usize(0..=other.len());
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}
