//! Applying a delta.

use std::ops::Range;

use super::{
    CHECKSUM, MAGIC, SOURCE, TARGET, VcdiffError,
    adler::is_checksum,
    instructions::{Addresses, CODES, Kind, Written},
};

type Result<T> = std::result::Result<T, VcdiffError>;

/// Applies a delta to the base that it was made from. The result has at most `limit` bytes; for more,
/// nothing is allocated.
///
/// # Errors
/// Why it cannot be applied. A delta without a checksum that was made from another base may be applied all
/// the same, with a wrong result.
///
/// ```
/// use capably_protocol::vcdiff;
///
/// let delta = vcdiff::encode(b"the price is 1.29", b"the price is 1.31");
/// assert_eq!(vcdiff::decode(&delta, b"the price is 1.29", 1024)?, b"the price is 1.31");
/// # Ok::<(), vcdiff::VcdiffError>(())
/// ```
pub fn decode(delta: &[u8], base: &[u8], limit: usize) -> Result<Vec<u8>> {
    let mut input = Input(delta);
    if input.take(MAGIC.len()).ok() != Some(&MAGIC[..]) {
        return Err(VcdiffError::NotVcdiff);
    }
    match input.byte()? {
        0 => {}
        // The header of an application; the delta does not depend on it.
        4 => {
            let size = input.size()?;
            input.take(size)?;
        }
        _ => {
            let what = "secondary compression or a code table of its own";
            return Err(VcdiffError::Unsupported(what));
        }
    }
    let mut output = Vec::new();
    while !input.0.is_empty() {
        decode_window(&mut input, base, &mut output, limit)?;
    }
    Ok(output)
}

fn decode_window(
    input: &mut Input<'_>,
    base: &[u8],
    output: &mut Vec<u8>,
    limit: usize,
) -> Result<()> {
    let indicator = input.byte()?;
    if indicator & !(SOURCE | TARGET | CHECKSUM) != 0 {
        return Err(VcdiffError::Unsupported("an unknown kind of window"));
    }
    let segment = match indicator & (SOURCE | TARGET) {
        0 => Segment::Base(&[]),
        SOURCE => Segment::Base(&base[input.segment(base.len())?]),
        TARGET => Segment::Output(input.segment(output.len())?),
        _ => return Err(VcdiffError::Malformed("a window copies from two places")),
    };
    let size = input.size()?;
    let mut window = Input(input.take(size)?);
    let size = window.size()?;
    if size > limit - output.len() {
        return Err(VcdiffError::TooLarge);
    }
    if window.byte()? != 0 {
        return Err(VcdiffError::Unsupported("secondary compression"));
    }
    let sizes = [window.size()?, window.size()?, window.size()?];
    let checksum = match indicator & CHECKSUM {
        0 => None,
        _ => Some(window.number()?),
    };
    let [data, instructions, addresses] = sizes.map(|size| window.take(size));
    if !window.0.is_empty() {
        return Err(VcdiffError::Malformed("a window is longer than its parts"));
    }
    output.reserve(size);
    let start = output.len();
    let mut target = Target { output, start, end: start + size, segment };
    target.follow(Input(instructions?), Input(data?), Input(addresses?))?;
    match checksum {
        Some(checksum) if !is_checksum(checksum, &output[start..]) => Err(VcdiffError::Checksum),
        _ => Ok(()),
    }
}

/// The bytes that a window may copy from besides itself.
enum Segment<'a> {
    Base(&'a [u8]),
    /// A part of the bytes decoded before.
    Output(Range<usize>),
}

/// A window while it is decoded.
struct Target<'a> {
    output: &'a mut Vec<u8>,
    /// Where the window begins and is to end.
    start: usize,
    end: usize,
    segment: Segment<'a>,
}

impl Target<'_> {
    fn follow(
        &mut self,
        mut instructions: Input<'_>,
        mut data: Input<'_>,
        mut written: Input<'_>,
    ) -> Result<()> {
        let mut addresses = Addresses::new();
        let segment = self.segment_len();
        while !instructions.0.is_empty() {
            let code = CODES[usize::from(instructions.byte()?)];
            for instruction in [Some(code.0), code.1].into_iter().flatten() {
                let size = match instruction.size {
                    0 => instructions.size()?,
                    size => usize::from(size),
                };
                if size > self.end - self.output.len() {
                    return Err(VcdiffError::Malformed("a window is longer than it says"));
                }
                match instruction.kind {
                    Kind::Add => self.output.extend_from_slice(data.take(size)?),
                    Kind::Run => self.output.resize(self.output.len() + size, data.byte()?),
                    Kind::Copy(mode) => {
                        let written = if Addresses::is_byte(mode) {
                            Written::Byte(written.byte()?)
                        } else {
                            Written::Number(written.varint()?)
                        };
                        // The length of a segment or a window fits into a varint.
                        let here = segment + (self.output.len() - self.start);
                        let here = u32::try_from(here).map_err(|_| VcdiffError::TooLarge)?;
                        let address = addresses
                            .read(mode, here, written)
                            .ok_or(VcdiffError::Malformed("a copy from what is not there"))?;
                        self.copy(address as usize, size);
                    }
                }
            }
        }
        if self.output.len() != self.end || !data.0.is_empty() || !written.0.is_empty() {
            return Err(VcdiffError::Malformed("a window is shorter than it says"));
        }
        Ok(())
    }

    fn segment_len(&self) -> usize {
        match &self.segment {
            Segment::Base(base) => base.len(),
            Segment::Output(range) => range.len(),
        }
    }

    /// Copies from an address below the current one, in the segment or in the window behind it.
    fn copy(&mut self, address: usize, size: usize) {
        let segment = self.segment_len();
        let mut left = size;
        if address < segment {
            let part = left.min(segment - address);
            match &self.segment {
                Segment::Base(base) => {
                    self.output.extend_from_slice(&base[address..address + part]);
                }
                Segment::Output(range) => {
                    let from = range.start + address;
                    self.output.extend_from_within(from..from + part);
                }
            }
            left -= part;
        }
        let from = self.start + address.saturating_sub(segment);
        // A copy may overlap its own output: it then repeats the bytes that it has just written.
        while left > 0 {
            let part = left.min(self.output.len() - from);
            self.output.extend_from_within(from..from + part);
            left -= part;
        }
    }
}

/// Bytes that are still to be read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(size).ok_or(VcdiffError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        let (byte, rest) = self.0.split_first().ok_or(VcdiffError::Truncated)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// A number of 4 bytes.
    fn number(&mut self) -> Result<u32> {
        let (number, rest) = self.0.split_first_chunk().ok_or(VcdiffError::Truncated)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    /// A number in as many bytes as it takes, 7 bits in each (RFC 3284, §2).
    fn varint(&mut self) -> Result<u32> {
        let mut number = 0_u32;
        loop {
            let byte = self.byte()?;
            if number > u32::MAX >> 7 {
                return Err(VcdiffError::Malformed("a number is too large"));
            }
            number = number << 7 | u32::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
    }

    fn size(&mut self) -> Result<usize> {
        Ok(self.varint()? as usize)
    }

    /// The part of something of this length that a window copies from.
    fn segment(&mut self, length: usize) -> Result<Range<usize>> {
        let (size, start) = (self.size()?, self.size()?);
        match start.checked_add(size) {
            Some(end) if end <= length => Ok(start..end),
            _ => Err(VcdiffError::Malformed("a segment is not in the base")),
        }
    }
}
