//! The checksum Adler-32 (RFC 1950).

/// As many bytes as can be added up before the sums have to be reduced.
const STEP: usize = 5552;
const MODULUS: u32 = 65_521;

/// Whether this is the checksum of these bytes. Encoders begin to count at 1, as the RFC says, or at 0, as
/// open-vcdiff does.
pub(super) fn is_checksum(checksum: u32, bytes: &[u8]) -> bool {
    [1, 0].into_iter().any(|start| adler32(start, bytes) == checksum)
}

fn adler32(start: u32, bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (start, 0);
    for step in bytes.chunks(STEP) {
        for byte in step {
            low += u32::from(*byte);
            high += low;
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums() {
        assert_eq!(adler32(1, b""), 1);
        assert_eq!(adler32(1, b"Wikipedia"), 0x11e6_0398);
        assert_eq!(adler32(1, &[0xff; 100_000]), 0x149a_302c);
    }

    #[test]
    fn either_start_will_do() {
        assert!(is_checksum(0x11e6_0398, b"Wikipedia"));
        assert!(is_checksum(0x11dd_0397, b"Wikipedia"));
        assert!(!is_checksum(0x11e6_0397, b"Wikipedia"));
    }
}
