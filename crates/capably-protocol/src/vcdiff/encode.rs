//! Making a delta.

use super::{
    MAGIC, SOURCE,
    instructions::{Addresses, MIN_COPY, Written, add_code, copy_code, pair_code},
};

/// The shortest piece to search for in the base: the code of a copy takes about as many bytes as a shorter piece.
const MIN_MATCH: usize = 6;
/// How far to search for the continuation of the last copy before the whole base is searched.
const LOOK_AHEAD: usize = 16;
/// How many bytes are compared at once.
const BLOCK: usize = 16;
/// The number of bytes of a piece that are its key in the table of places.
const KEY: usize = 4;

/// The delta from `base` to `target`: one window, without a checksum. It can be longer than `target` if the two have
/// little in common.
pub fn encode(base: &[u8], target: &[u8]) -> Vec<u8> {
    let mut window = Window::new(base, target);
    window.find_copies();
    window.finish()
}

/// The window of a delta while it is made.
struct Window<'a> {
    base: &'a [u8],
    target: &'a [u8],
    /// The number of bytes of the target that are written.
    done: usize,
    /// Where in the base the last copy ended.
    copied: usize,
    data: Vec<u8>,
    instructions: Vec<u8>,
    written: Vec<u8>,
    addresses: Addresses,
}

impl<'a> Window<'a> {
    fn new(base: &'a [u8], target: &'a [u8]) -> Self {
        Self {
            base,
            target,
            done: 0,
            copied: 0,
            data: Vec::new(),
            instructions: Vec::new(),
            written: Vec::new(),
            addresses: Addresses::new(),
        }
    }

    /// Copies from the base the start, the end and the pieces between that both have in common.
    fn find_copies(&mut self) {
        let (base, target) = (self.base, self.target);
        let prefix = common_prefix(base, target);
        let suffix = common_suffix(&base[prefix..], &target[prefix..]);
        if prefix >= MIN_COPY {
            self.copy(0, 0, prefix);
        }
        let end = target.len() - if suffix >= MIN_COPY { suffix } else { 0 };
        if end - self.done >= MIN_MATCH && base.len() >= MIN_MATCH {
            self.find_pieces(end);
        }
        if end < target.len() {
            self.copy(base.len() - suffix, end, suffix);
        }
        self.add_until(target.len());
    }

    /// Finds pieces of the base in the target before `end`: where the last copy would go on, else anywhere.
    fn find_pieces(&mut self, end: usize) {
        let (base, target) = (self.base, self.target);
        let mut places = None;
        let mut at = self.done;
        while at + MIN_MATCH <= end {
            let look = at + LOOK_AHEAD;
            if let Some((place, found)) = self.resumption(at, look.min(end - MIN_MATCH + 1)) {
                self.copy(place, found, common_prefix(&base[place..], &target[found..end]));
                at = self.done;
                continue;
            }
            let places = places.get_or_insert_with(|| Places::of(base));
            while at < look && at + MIN_MATCH <= end {
                if let Some(place) = places.find(&target[at..]) {
                    let length = common_prefix(&base[place..], &target[at..end]);
                    let before = common_suffix(&base[..place], &target[self.done..at]);
                    if before + length >= MIN_MATCH {
                        self.copy(place - before, at - before, before + length);
                        at = self.done;
                        break;
                    }
                }
                at += 1;
            }
        }
    }

    /// Where the target, between `at` and `end`, matches the base again behind the last copy, if as many bytes were
    /// replaced as are skipped. Returns the place in the base and the place in the target.
    fn resumption(&self, at: usize, end: usize) -> Option<(usize, usize)> {
        let piece = |bytes: &'a [u8], at: usize| bytes.get(at..at + MIN_MATCH);
        let places = (at..end).map(|found| (self.copied + (found - self.done), found));
        places
            .take_while(|(place, _)| place + MIN_MATCH <= self.base.len())
            .find(|(place, found)| piece(self.base, *place) == piece(self.target, *found))
    }

    /// Writes a copy to `at`, after the bytes that are missing before it.
    fn copy(&mut self, address: usize, at: usize, size: usize) {
        let here = (self.base.len() + at) as u32;
        let (mode, written) = self.addresses.write(address as u32, here);
        let gap = &self.target[self.done..at];
        if let Some(code) = pair_code(gap.len(), mode, size) {
            self.data.extend_from_slice(gap);
            self.instructions.push(code);
        } else {
            self.add_until(at);
            let (code, follows) = copy_code(mode, size);
            self.instructions.push(code);
            if follows {
                push_varint(&mut self.instructions, size);
            }
        }
        match written {
            Written::Byte(byte) => self.written.push(byte),
            Written::Number(number) => push_varint(&mut self.written, number as usize),
        }
        self.done = at + size;
        self.copied = address + size;
    }

    /// Writes the target as it is, up to `end`.
    fn add_until(&mut self, end: usize) {
        let missing = &self.target[self.done..end];
        if missing.is_empty() {
            return;
        }
        let (code, follows) = add_code(missing.len());
        self.instructions.push(code);
        if follows {
            push_varint(&mut self.instructions, missing.len());
        }
        self.data.extend_from_slice(missing);
    }

    fn finish(self) -> Vec<u8> {
        let Self { base, target, data, instructions, written, .. } = self;
        let mut body = Vec::with_capacity(32 + data.len() + instructions.len() + written.len());
        push_varint(&mut body, target.len());
        body.push(0);
        let parts = [data, instructions, written];
        for part in &parts {
            push_varint(&mut body, part.len());
        }
        for part in &parts {
            body.extend_from_slice(part);
        }
        let mut delta = Vec::with_capacity(20 + body.len());
        delta.extend_from_slice(&MAGIC);
        delta.extend_from_slice(&[0, SOURCE]);
        push_varint(&mut delta, base.len());
        push_varint(&mut delta, 0);
        push_varint(&mut delta, body.len());
        delta.extend_from_slice(&body);
        delta
    }
}

/// Where in the base pieces may be found: for each hash of a few bytes, the last place that has it.
struct Places<'a> {
    base: &'a [u8],
    /// By hash: the place plus one, or 0.
    table: Vec<u32>,
    shift: u32,
}

impl<'a> Places<'a> {
    fn of(base: &'a [u8]) -> Self {
        let bits = (base.len().ilog2() + 1).clamp(6, 16);
        let mut places = Self { base, table: vec![0; 1 << bits], shift: 32 - bits };
        for (place, key) in (1..).zip(base.windows(KEY)) {
            if let Some(slot) = places.slot(key) {
                places.table[slot] = place;
            }
        }
        places
    }

    fn slot(&self, bytes: &[u8]) -> Option<usize> {
        let key = u32::from_le_bytes(*bytes.first_chunk::<KEY>()?);
        Some((key.wrapping_mul(0x9e37_79b1) >> self.shift) as usize)
    }

    /// A place in the base whose first bytes equal the first of these.
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        let place = self.table[self.slot(bytes)?].checked_sub(1)? as usize;
        (self.base[place..].first_chunk::<KEY>() == bytes.first_chunk()).then_some(place)
    }
}

/// How many bytes two sequences have in common at their beginning.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let equal = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    equal + a[equal..].iter().zip(&b[equal..]).take_while(|(a, b)| a == b).count()
}

/// How many bytes two sequences have in common at their end.
fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.rchunks_exact(BLOCK).zip(b.rchunks_exact(BLOCK));
    let equal = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - equal], &b[..b.len() - equal]);
    equal + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

fn push_varint(bytes: &mut Vec<u8>, number: usize) {
    let groups = (usize::BITS - number.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        bytes.push((number >> (7 * group) & 0x7f) as u8 | more);
    }
}
