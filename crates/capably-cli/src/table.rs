//! Tables for people: columns of equal width, without lines between them.

use crate::{failure::Failure, output::Output, style::Style};

/// A table with a heading.
#[derive(Debug)]
pub(crate) struct Table {
    heading: Vec<&'static str>,
    /// Cells, already fit for a terminal ([`visible`](crate::visible::visible)).
    rows: Vec<Vec<String>>,
    /// The widths of the columns, in characters.
    widths: Vec<usize>,
    /// The heading is written.
    is_headed: bool,
}

impl Table {
    pub(crate) fn new(heading: impl Into<Vec<&'static str>>) -> Self {
        let heading = heading.into();
        Self { heading, rows: Vec::new(), widths: Vec::new(), is_headed: false }
    }

    /// Adds a row. The cells must contain no control characters.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// Writes the rows since the last call, and the heading before the first row. A long table is written in parts, of
    /// which each is as wide as those before it or wider.
    pub(crate) fn print(&mut self, output: &mut Output, style: Style) -> Result<(), Failure> {
        let is_headed = self.is_headed;
        for (number, line) in self.lines().into_iter().enumerate() {
            let is_heading = number == 0 && !is_headed;
            output.line(if is_heading { style.bold(line) } else { line })?;
        }
        Ok(())
    }

    fn lines(&mut self) -> Vec<String> {
        let mut rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Vec::new();
        }
        if !std::mem::replace(&mut self.is_headed, true) {
            rows.insert(0, self.heading.iter().map(ToString::to_string).collect());
        }
        align(&rows, &mut self.widths)
    }
}

/// Names with their values, one pair a line.
pub(crate) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Vec<String> {
    let rows: Vec<Vec<String>> =
        pairs.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    align(&rows, &mut Vec::new())
}

/// Pads each cell except the last of a row to the width of its column, which grows to its widest cell.
fn align(rows: &[Vec<String>], widths: &mut Vec<usize>) -> Vec<String> {
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(widths.iter()).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
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
        table.row(["b".to_owned(), "2".to_owned()]);
        assert_eq!(table.lines(), ["b              2"]);
        assert_eq!(table.lines(), [""; 0]);
        assert_eq!(
            pairs([("app", "a".to_owned()), ("clientId", "b".to_owned())]),
            ["app       a", "clientId  b",]
        );
    }
}
