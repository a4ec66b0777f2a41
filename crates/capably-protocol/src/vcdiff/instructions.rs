//! The instructions of a delta: the default code table and the cache of addresses (RFC 3284, §5).

/// The effect of one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Takes bytes from the data.
    Add,
    /// Repeats one byte of the data.
    Run,
    /// Copies from an address written in this mode.
    Copy(u8),
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) kind: Kind,
    /// How many bytes; 0 if the size follows.
    pub(super) size: u8,
}

/// The meaning of an instruction byte: one instruction or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) Instruction, pub(super) Option<Instruction>);

/// The shortest copy whose size is part of its code.
pub(super) const MIN_COPY: usize = 4;
/// The longest ADD whose size is part of its code.
const MAX_ADD: u8 = 17;
/// The longest copy whose size is part of its code.
const MAX_COPY: u8 = 18;
/// How many ways of writing an address there are.
const MODES: u8 = 9;
/// The first mode that names an address by its last byte.
const FIRST_SAME: u8 = 2 + NEAR as u8;

const FIRST_COPY: u8 = 2 + MAX_ADD;
const COPIES_PER_MODE: u8 = MAX_COPY - 2;
const FIRST_PAIR: u8 = FIRST_COPY + MODES * COPIES_PER_MODE;
const FIRST_SAME_PAIR: u8 = FIRST_PAIR + FIRST_SAME * 12;
const FIRST_COPY_ADD: u8 = FIRST_SAME_PAIR + (MODES - FIRST_SAME) * 4;

/// The default table of instruction bytes (RFC 3284, §5.6).
pub(super) static CODES: [Code; 256] = codes();

const fn codes() -> [Code; 256] {
    let mut codes = [Code(instruction(Kind::Run, 0), None); 256];
    let mut at = 1;
    let mut size = 0;
    while size <= MAX_ADD {
        codes[at] = Code(instruction(Kind::Add, size), None);
        at += 1;
        size += 1;
    }
    let mut mode = 0;
    while mode < MODES {
        codes[at] = Code(instruction(Kind::Copy(mode), 0), None);
        at += 1;
        let mut size = MIN_COPY as u8;
        while size <= MAX_COPY {
            codes[at] = Code(instruction(Kind::Copy(mode), size), None);
            at += 1;
            size += 1;
        }
        mode += 1;
    }
    let mut mode = 0;
    while mode < MODES {
        let longest = if mode < FIRST_SAME { 6 } else { 4 };
        let mut add = 1;
        while add <= 4 {
            let mut size = 4;
            while size <= longest {
                let copy = instruction(Kind::Copy(mode), size);
                codes[at] = Code(instruction(Kind::Add, add), Some(copy));
                at += 1;
                size += 1;
            }
            add += 1;
        }
        mode += 1;
    }
    let mut mode = 0;
    while mode < MODES {
        let copy = instruction(Kind::Copy(mode), 4);
        codes[at] = Code(copy, Some(instruction(Kind::Add, 1)));
        at += 1;
        mode += 1;
    }
    assert!(at == codes.len() && codes[FIRST_COPY_ADD as usize].1.is_some());
    codes
}

const fn instruction(kind: Kind, size: u8) -> Instruction {
    Instruction { kind, size }
}

/// The code of an ADD, and whether its size has to follow.
pub(super) fn add_code(size: usize) -> (u8, bool) {
    if size <= usize::from(MAX_ADD) { (1 + size as u8, false) } else { (1, true) }
}

/// The code of a copy, and whether its size has to follow.
pub(super) fn copy_code(mode: u8, size: usize) -> (u8, bool) {
    let first = FIRST_COPY + mode * COPIES_PER_MODE;
    if (MIN_COPY..=usize::from(MAX_COPY)).contains(&size) {
        (first + size as u8 - 3, false)
    } else {
        (first, true)
    }
}

/// The code of an ADD that is followed by a copy, if there is one for both.
pub(super) fn pair_code(add: usize, mode: u8, copy: usize) -> Option<u8> {
    if !(1..=4).contains(&add) {
        return None;
    }
    let add = add as u8 - 1;
    match (mode < FIRST_SAME, copy) {
        (true, 4..=6) => Some(FIRST_PAIR + mode * 12 + add * 3 + copy as u8 - 4),
        (false, 4) => Some(FIRST_SAME_PAIR + (mode - FIRST_SAME) * 4 + add),
        _ => None,
    }
}

const NEAR: usize = 4;
const SAME: usize = 3;

/// An address as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Number(u32),
    Byte(u8),
}

/// The addresses of the last copies, by which the next are written (RFC 3284, §5.1).
#[derive(Debug)]
pub(super) struct Addresses {
    near: [u32; NEAR],
    next: usize,
    same: [u32; SAME * 256],
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self { near: [0; NEAR], next: 0, same: [0; SAME * 256] }
    }

    /// Whether a mode writes an address as one byte.
    pub(super) fn is_byte(mode: u8) -> bool {
        mode >= FIRST_SAME
    }

    /// The address that was written so, seen from `here`; `None` if there is none.
    pub(super) fn read(&mut self, mode: u8, here: u32, written: Written) -> Option<u32> {
        let address = match (mode, written) {
            (0, Written::Number(address)) => address,
            (1, Written::Number(back)) => here.checked_sub(back)?,
            (_, Written::Number(on)) => self.near.get(usize::from(mode) - 2)?.checked_add(on)?,
            (_, Written::Byte(byte)) => {
                let block = mode.checked_sub(FIRST_SAME)?;
                *self.same.get(usize::from(block) * 256 + usize::from(byte))?
            }
        };
        if address >= here {
            return None;
        }
        self.remember(address);
        Some(address)
    }

    /// The shortest form of an address, seen from `here`: its mode, and the value to write.
    pub(super) fn write(&mut self, address: u32, here: u32) -> (u8, Written) {
        let slot = address as usize % self.same.len();
        let written = if self.same[slot] == address {
            (FIRST_SAME + (slot / 256) as u8, Written::Byte((slot % 256) as u8))
        } else {
            let near = (2..).zip(&self.near);
            let near = near.filter_map(|(mode, near)| Some((mode, address.checked_sub(*near)?)));
            let shorter = |best: (u8, u32), own: (u8, u32)| if own.1 < best.1 { own } else { best };
            let (mode, number) =
                [(1, here - address)].into_iter().chain(near).fold((0, address), shorter);
            (mode, Written::Number(number))
        };
        self.remember(address);
        written
    }

    fn remember(&mut self, address: u32) {
        self.near[self.next] = address;
        self.next = (self.next + 1) % NEAR;
        self.same[address as usize % (SAME * 256)] = address;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_table_is_that_of_the_rfc() {
        let single = |at: usize| (CODES[at].0.kind, CODES[at].0.size, CODES[at].1);
        assert_eq!(single(0), (Kind::Run, 0, None));
        assert_eq!(single(1), (Kind::Add, 0, None));
        assert_eq!(single(18), (Kind::Add, 17, None));
        assert_eq!(single(19), (Kind::Copy(0), 0, None));
        assert_eq!(single(20), (Kind::Copy(0), 4, None));
        assert_eq!(single(34), (Kind::Copy(0), 18, None));
        assert_eq!(single(147), (Kind::Copy(8), 0, None));
        assert_eq!(single(162), (Kind::Copy(8), 18, None));
        let pair = |at: usize| CODES[at].1.map(|second| (CODES[at].0, second));
        let add = |size| instruction(Kind::Add, size);
        let copy = |mode, size| instruction(Kind::Copy(mode), size);
        assert_eq!(pair(163), Some((add(1), copy(0, 4))));
        assert_eq!(pair(174), Some((add(4), copy(0, 6))));
        assert_eq!(pair(234), Some((add(4), copy(5, 6))));
        assert_eq!(pair(235), Some((add(1), copy(6, 4))));
        assert_eq!(pair(246), Some((add(4), copy(8, 4))));
        assert_eq!(pair(247), Some((copy(0, 4), add(1))));
        assert_eq!(pair(255), Some((copy(8, 4), add(1))));
    }

    #[test]
    fn every_code_that_is_written_means_what_it_was_written_for() {
        for size in 1..40 {
            let (code, follows) = add_code(size);
            let read = CODES[usize::from(code)];
            let own = if follows { 0 } else { size as u8 };
            assert_eq!(read, Code(instruction(Kind::Add, own), None));
            assert_eq!(follows, size > 17);
        }
        for (mode, size) in (0..9).flat_map(|mode| (1..40).map(move |size| (mode, size))) {
            let (code, follows) = copy_code(mode, size);
            let own = if follows { 0 } else { size as u8 };
            assert_eq!(CODES[usize::from(code)], Code(instruction(Kind::Copy(mode), own), None));
            assert_eq!(follows, !(4..=18).contains(&size));
            for add in 0..8 {
                let Some(code) = pair_code(add, mode, size) else {
                    assert!(
                        !(1..=4).contains(&add) || size < 4 || size > if mode < 6 { 6 } else { 4 }
                    );
                    continue;
                };
                let both = Code(
                    instruction(Kind::Add, add as u8),
                    Some(instruction(Kind::Copy(mode), size as u8)),
                );
                assert_eq!(CODES[usize::from(code)], both);
            }
        }
    }

    #[test]
    fn addresses_are_read_as_they_were_written() {
        let (mut writer, mut reader) = (Addresses::new(), Addresses::new());
        let addresses = [5, 900, 905, 5, 4000, 901, 4001, 900, 0, 767, 768, 4000, 5];
        let mut modes = Vec::new();
        for (here, address) in (5_000..).zip(addresses) {
            let (mode, written) = writer.write(address, here);
            modes.push(mode);
            assert_eq!(Addresses::is_byte(mode), matches!(written, Written::Byte(_)));
            assert_eq!(reader.read(mode, here, written), Some(address));
        }
        assert_eq!(modes, [0, 2, 3, 6, 1, 3, 2, 6, 6, 0, 3, 6, 6]);
    }

    #[test]
    fn no_address_lies_ahead() {
        let mut addresses = Addresses::new();
        assert_eq!(addresses.read(0, 5, Written::Number(5)), None);
        assert_eq!(addresses.read(1, 5, Written::Number(6)), None);
        assert_eq!(addresses.read(1, 5, Written::Number(0)), None);
        assert_eq!(addresses.read(2, 5, Written::Number(u32::MAX)), None);
        assert_eq!(addresses.read(0, 5, Written::Number(4)), Some(4));
        assert_eq!(addresses.read(2, 5, Written::Number(u32::MAX)), None);
        assert_eq!(addresses.read(6, 4, Written::Byte(4)), None);
        assert_eq!(addresses.read(6, 5, Written::Byte(4)), Some(4));
    }
}
