//! Tables for people: columns of equal width, without lines between them.

use crate::{failure::Failure, output::Output, style::Style};

/// A table with a heading.
#[derive(Debug)]
pub(crate) struct Table {
    heading: Vec<&'static str>,
    /// Cells, already fit for a terminal ([`visible`](crate::visible::visible)).
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: impl Into<Vec<&'static str>>) -> Self {
        Self { heading: heading.into(), rows: Vec::new() }
    }

    /// Adds a row. The cells must contain no control characters.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// Writes the heading and the rows; nothing for a table without rows.
    pub(crate) fn print(&self, output: &mut Output, style: Style) -> Result<(), Failure> {
        let mut lines = self.lines().into_iter();
        if let Some(heading) = lines.next() {
            output.line(style.bold(heading))?;
        }
        lines.try_for_each(|line| output.line(line))
    }

    fn lines(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let heading = self.heading.iter().map(ToString::to_string).collect();
        align(std::iter::once(&heading).chain(&self.rows))
    }
}

/// Names with their values, one pair a line.
pub(crate) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Vec<String> {
    let rows: Vec<Vec<String>> =
        pairs.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    align(&rows)
}

/// Pads each cell except the last of a row to the width of its column. The width is in characters.
fn align<'a>(rows: impl IntoIterator<Item = &'a Vec<String>> + Clone) -> Vec<String> {
    let mut widths = Vec::new();
    for row in rows.clone() {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["channel", "n"]);
        assert_eq!(table.lines(), [""; 0]);
        table.row(["größe".to_owned(), "1".to_owned()]);
        table.row(["a-longer-name".to_owned(), String::new()]);
        assert_eq!(table.lines(), ["channel        n", "größe          1", "a-longer-name"]);
        assert_eq!(
            pairs([("app", "a".to_owned()), ("clientId", "b".to_owned())]),
            ["app       a", "clientId  b",]
        );
    }
}
