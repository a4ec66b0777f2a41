//! The delta format VCDIFF (RFC 3284): instructions that turn bytes which both sides have into other bytes.
//!
//! [`decode`] understands everything in the RFC but secondary compression and code tables of the sender's
//! own, and the checksums and application headers that common encoders add. [`encode`] writes one window
//! that copies from the base, in the subset that every decoder understands.

use std::{error, fmt};

mod adler;
mod decode;
mod encode;
mod instructions;

pub use decode::decode;
pub use encode::encode;

/// The start of every delta: the magic number and the version.
const MAGIC: [u8; 4] = [0xd6, 0xc3, 0xc4, 0];

/// The window copies from the base.
const SOURCE: u8 = 1;
/// The window copies from what has been decoded before it.
const TARGET: u8 = 2;
/// The window has a checksum: of open-vcdiff and xdelta, not in the RFC.
const CHECKSUM: u8 = 4;

/// Why a delta cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VcdiffError {
    /// It does not begin as deltas do.
    NotVcdiff,
    /// It uses this, which is not supported.
    Unsupported(&'static str),
    /// It ends in the middle of something.
    Truncated,
    /// Its result would be larger than allowed.
    TooLarge,
    /// It contradicts itself, or does not fit the base.
    Malformed(&'static str),
    /// The checksum does not match the result: the delta belongs to another base.
    Checksum,
}

impl fmt::Display for VcdiffError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVcdiff => f.write_str("the delta is not in the format vcdiff"),
            Self::Unsupported(what) => write!(f, "the delta uses {what}, which is not supported"),
            Self::Truncated => f.write_str("the delta is cut off"),
            Self::TooLarge => f.write_str("the delta makes more than is allowed"),
            Self::Malformed(what) => write!(f, "the delta is broken: {what}"),
            Self::Checksum => f.write_str("the delta does not fit the base: the checksum differs"),
        }
    }
}

impl error::Error for VcdiffError {}
