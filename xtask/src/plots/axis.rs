//! The scale of an axis, and the numbers along it.

/// A wider range than this is logarithmic.
const LINEAR: f64 = 50.0;

#[derive(Debug)]
pub(super) struct Axis {
    is_logarithmic: bool,
    low: f64,
    high: f64,
}

impl Axis {
    /// An axis for these values, logarithmic if their range is wide.
    pub(super) fn new(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (low, high) = range(values.clone());
        if low > 0.0 && high / low > LINEAR {
            let power = |exponent: f64| 10f64.powi(exponent as i32);
            let (low, high) = (power(low.log10().floor()), power(high.log10().ceil()));
            return Self { is_logarithmic: true, low, high };
        }
        Self::linear(values)
    }

    /// A linear axis for these values. It begins at 0, so that a small change looks small.
    pub(super) fn linear(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (low, high) = range(values);
        let low = low.min(0.0);
        let step = step(if high > low { high - low } else { 1.0 });
        let high = ((high.max(low + step)) / step).ceil() * step;
        Self { is_logarithmic: false, low: (low / step).floor() * step, high }
    }

    /// Where a value is on the axis, from 0 to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        if self.is_logarithmic {
            (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// The numbers along the axis.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.is_logarithmic {
            let decades = (self.high / self.low).log10().round() as i32;
            (0..=decades).map(|decade| self.low * 10f64.powi(decade)).collect()
        } else {
            let step = step(self.high - self.low);
            let steps = ((self.high - self.low) / step).round() as u32;
            (0..=steps).map(|at| self.low + f64::from(at) * step).collect()
        }
    }
}

fn range(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    (low, values.fold(f64::NEG_INFINITY, f64::max))
}

/// The distance of about five ticks: 1, 2 or 5 times a power of ten.
fn step(range: f64) -> f64 {
    let power = 10f64.powi((range / 5.0).log10().floor() as i32);
    let digit = range / 5.0 / power;
    let digit = [1.0, 2.0, 5.0].into_iter().find(|step| digit <= *step).unwrap_or(10.0);
    digit * power
}

/// A number for people: `0.5`, `20`, `1.5 k`, `3 M`.
pub(super) fn readable(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        magnitude if magnitude >= 1e9 => (value / 1e9, " G"),
        magnitude if magnitude >= 1e6 => (value / 1e6, " M"),
        magnitude if magnitude >= 1e3 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = format!("{scaled:.3}");
    format!("{}{suffix}", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_range_is_logarithmic_and_ends_at_powers_of_ten() {
        let axis = Axis::new([3.0, 40_000.0].into_iter());
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]);
        assert_eq!(axis.share(1_000.0), 0.6);
    }

    #[test]
    fn a_narrow_range_is_linear_and_begins_at_zero() {
        let axis = Axis::new([30.0, 45.0].into_iter());
        assert_eq!(axis.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(axis.share(25.0), 0.5);
    }

    #[test]
    fn equal_values_and_zeros_have_an_axis() {
        assert_eq!(Axis::new([0.0, 0.0].into_iter()).share(0.0), 0.0);
        assert!(Axis::new([7.0].into_iter()).share(7.0) > 0.5);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.5, 20.0, 1_500.0, 3e6, 0.0].map(readable);
        assert_eq!(texts, ["0.5", "20", "1.5 k", "3 M", "0"]);
    }
}
