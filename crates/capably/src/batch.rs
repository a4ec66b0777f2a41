//! Results of operations on several things at once (BAR).

/// What became of each part of a batch (BAR1).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BatchResult<T> {
    /// How many parts succeeded (BAR2a).
    pub success_count: u32,
    /// How many parts failed (BAR2b).
    pub failure_count: u32,
    /// What became of each, in order (BAR2c).
    pub results: Vec<T>,
}
