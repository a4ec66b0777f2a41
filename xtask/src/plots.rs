//! `cargo xtask plots`: draws the figures in `docs/performance/*.csv`, each as an SVG beside it.
//!
//! The first column of a file is the horizontal axis. Each other column becomes a panel. A heading has the unit in
//! parentheses.

mod axis;
mod svg;

use std::{fs, path::Path};

use crate::Outcome;

const FOLDER: &str = "docs/performance";

/// `cargo xtask plots`.
pub(crate) fn draw_all(root: &Path) -> Outcome {
    let plots = plots(&root.join(FOLDER))?;
    for (path, drawn) in &plots {
        fs::write(path, drawn).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(format!("{} plots are in {FOLDER}", plots.len()))
}

/// `cargo xtask plots --check`: whether the plots in the tree are those of the figures in the tree.
pub(crate) fn check(root: &Path) -> Outcome {
    let plots = plots(&root.join(FOLDER))?;
    let old: Vec<_> = plots
        .iter()
        .filter(|(path, drawn)| fs::read_to_string(path).ok().as_ref() != Some(drawn))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if old.is_empty() {
        return Ok(format!("{} plots show their figures", plots.len()));
    }
    Err(format!("run `cargo xtask plots`: these do not show their figures: {}", old.join(", ")))
}

/// `cargo xtask plots <file.csv>`: draws one file, of a soak for example.
pub(crate) fn draw(source: &Path) -> Outcome {
    let target = source.with_extension("svg");
    fs::write(&target, drawn(source)?).map_err(|error| format!("{}: {error}", target.display()))?;
    Ok(format!("the plot is in {}", target.display()))
}

fn plots(folder: &Path) -> Result<Vec<(std::path::PathBuf, String)>, String> {
    let unreadable = |error| format!("{}: {error}", folder.display());
    let mut sources = Vec::new();
    // A fresh folder: no curve was measured yet.
    if !folder.exists() {
        return Ok(Vec::new());
    }
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            sources.push(path);
        }
    }
    sources.sort();
    sources.iter().map(|source| Ok((source.with_extension("svg"), drawn(source)?))).collect()
}

fn drawn(source: &Path) -> Result<String, String> {
    let failed = |error: String| format!("{}: {error}", source.display());
    let text = fs::read_to_string(source).map_err(|error| failed(error.to_string()))?;
    Ok(svg::draw(&Figures::parse(&text).map_err(failed)?))
}

/// The figures of a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Figures {
    /// The heading of the first column.
    across: String,
    pub(crate) panels: Vec<Panel>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Panel {
    pub(crate) heading: String,
    /// In the order of the file. A row without a value in this column has no point.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Figures {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let headings = lines.next().map(|(_, line)| line).unwrap_or_default();
        let mut headings = headings.split(',').map(|heading| heading.trim().to_owned());
        let across = headings.next().unwrap_or_default();
        let panels = headings.map(|heading| Panel { heading, points: Vec::new() });
        let mut figures = Self { across, panels: panels.collect() };
        if figures.panels.is_empty() {
            return Err("the first line needs at least two headings".to_owned());
        }
        for (at, line) in lines {
            let bad = |what: &str| format!("line {}: {what}", at + 1);
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            if cells.len() != figures.panels.len() + 1 {
                return Err(bad("not as many values as headings"));
            }
            let number = |cell: &str| match cell.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number),
                Ok(_) | Err(_) => Err(bad(&format!("`{cell}` is not a number"))),
            };
            let x = number(cells[0])?;
            for (panel, cell) in figures.panels.iter_mut().zip(&cells[1..]) {
                if !cell.is_empty() {
                    panel.points.push((x, number(cell)?));
                }
            }
        }
        if let Some(panel) = figures.panels.iter().find(|panel| panel.points.is_empty()) {
            return Err(format!("no values below `{}`", panel.heading));
        }
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plots_in_the_tree_show_the_figures_in_the_tree() {
        check(&crate::root()).unwrap();
    }

    #[test]
    fn each_plot_is_shown_in_the_page_about_performance() {
        let root = crate::root();
        let page = fs::read_to_string(root.join("docs/performance.md")).unwrap();
        for (path, _) in plots(&root.join(FOLDER)).unwrap() {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(page.contains(&format!("(performance/{name})")), "{name} is not shown");
        }
    }

    #[test]
    fn a_column_is_a_panel_and_an_empty_cell_has_no_point() {
        let figures =
            Figures::parse("channels,time (ms),memory (bytes)\n1,2,3\n10,,4.5\n").unwrap();
        let panel = |heading: &str, points: &[(f64, f64)]| Panel {
            heading: heading.to_owned(),
            points: points.to_vec(),
        };
        let panels = vec![
            panel("time (ms)", &[(1.0, 2.0)]),
            panel("memory (bytes)", &[(1.0, 3.0), (10.0, 4.5)]),
        ];
        assert_eq!(figures, Figures { across: "channels".to_owned(), panels });
    }

    #[test]
    fn damaged_figures_are_refused_with_their_line() {
        let refused = |text: &str| Figures::parse(text).unwrap_err();
        assert_eq!(refused("a,b\n1,2\n1,2,3\n"), "line 3: not as many values as headings");
        assert_eq!(refused("a,b\n1,two\n"), "line 2: `two` is not a number");
        assert_eq!(refused("a,b\n1,NaN\n"), "line 2: `NaN` is not a number");
        assert_eq!(refused("a\n1\n"), "the first line needs at least two headings");
        assert_eq!(refused("a,b\n1,\n"), "no values below `b`");
    }
}
