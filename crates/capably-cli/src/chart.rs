//! Bar charts for a terminal.

use terminal_size::{Width, terminal_size};

use crate::stats::thousands;

/// The width without a terminal, in columns.
const DEFAULT_WIDTH: usize = 80;

/// The shortest bar that still shows something, in columns.
const MIN_BAR: usize = 8;

/// Parts of a column, in eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The width of the terminal, in columns.
pub(crate) fn width() -> usize {
    terminal_size().map_or(DEFAULT_WIDTH, |(Width(width), _)| usize::from(width))
}

/// A row of a chart: its label, its number, and its bar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) number: String,
    pub(crate) bar: String,
}

/// The rows of a chart of this width. Bars start at zero; the largest value fills the width. A value above zero has at least
/// the thinnest bar. Labels and numbers are padded to columns.
pub(crate) fn rows(values: &[(String, f64)], width: usize) -> Vec<Row> {
    let numbers: Vec<String> = values.iter().map(|(_, value)| number(*value)).collect();
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let label_width = widest(&mut values.iter().map(|(label, _)| label.chars().count()));
    let number_width = widest(&mut numbers.iter().map(String::len));
    let bar_width = width.saturating_sub(label_width + number_width + 4).max(MIN_BAR);
    let largest = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let row = |((label, value), number): (&(String, f64), String)| Row {
        label: format!("{label:label_width$}"),
        number: format!("{number:>number_width$}"),
        bar: bar(*value, largest, bar_width),
    };
    values.iter().zip(numbers).map(row).collect()
}

fn bar(value: f64, largest: f64, width: usize) -> String {
    if value.is_nan() || value <= 0.0 || largest <= 0.0 {
        return String::new();
    }
    let eighths = ((value / largest * width as f64 * 8.0).round() as usize).clamp(1, width * 8);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// A whole number with commas; any other with two digits after the point.
fn number(value: f64) -> String {
    if value >= 0.0 && value.fract() == 0.0 && value < 2f64.powi(53) {
        thousands(value as u64)
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(values: &[(&str, f64)], width: usize) -> Vec<String> {
        let values: Vec<_> =
            values.iter().map(|(label, value)| (label.to_string(), *value)).collect();
        let line = |row: Row| format!("{}  {}  {}", row.label, row.number, row.bar);
        rows(&values, width).into_iter().map(line).collect()
    }

    #[test]
    fn bars_are_in_proportion_to_their_values() {
        let values = [
            ("10:00", 1_000.0),
            ("10:01", 500.0),
            ("10:02", 0.0),
            ("10:03", 1.0),
            ("10:04", 312.5),
        ];
        assert_eq!(
            lines(&values, 25),
            [
                "10:00   1,000  ██████████",
                "10:01     500  █████",
                "10:02       0  ",
                "10:03       1  ▏",
                "10:04  312.50  ███▏",
            ]
        );
    }

    #[test]
    fn a_row_is_never_wider_than_the_terminal_unless_that_is_tiny() {
        for (width, bar) in [(80, 68), (40, 28), (10, 8), (0, 8)] {
            let rows = rows(&[("12345".to_owned(), 100.0)], width);
            assert_eq!(rows[0].bar.chars().count(), bar, "{width}");
        }
        assert_eq!(lines(&[], 80), [""; 0]);
        assert_eq!(lines(&[("a", 0.0)], 80), ["a  0  "]);
        assert_eq!(lines(&[("a", f64::NAN), ("b", -1.0)], 80), ["a    NaN  ", "b  -1.00  "]);
    }
}
