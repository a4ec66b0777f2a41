//! `cargo xtask spec`: how much of the specification our tests cover.
//!
//! A comment above a test has the points that the test covers: `// UTS: <test id>` for a test that is ported from the
//! Universal Test Specification, and `// Spec: <point>, <point>` for other tests. A ported test covers the points in its
//! id. Tests and points that cannot apply are in `docs/uts-deviations.md`, each id in backticks at the start of a table
//! row.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use crate::Outcome;

const POINTS: &str = "xtask/data/spec-points.tsv";
const TESTS: &str = "xtask/data/uts-tests.tsv";
const FLOOR: &str = "xtask/data/spec-floor.tsv";
const DEVIATIONS: &str = "docs/uts-deviations.md";

/// Prints the coverage of each section. Fails when a section is below the committed floor.
pub(crate) fn check(root: &Path) -> Outcome {
    let coverage = measure(root)?;
    let floor = Floor::read(root)?;
    let mut report = coverage.report();
    let fallen = coverage.below(&floor);
    if fallen.is_empty() {
        report.push_str("\nno section is below its floor");
        return Ok(report);
    }
    let mut text = format!("{report}\n\nbelow the floor of {FLOOR}:\n");
    for line in fallen {
        let _ = writeln!(text, "  {line}");
    }
    Err(text)
}

/// Writes the present coverage as the floor.
pub(crate) fn raise(root: &Path) -> Outcome {
    let coverage = measure(root)?;
    let path = root.join(FLOOR);
    fs::write(&path, coverage.floor()).map_err(|e| format!("{FLOOR}: {e}"))?;
    Ok(format!("{}\n\nwritten to {FLOOR}", coverage.report()))
}

/// The points and tests, and those of them that are covered, by kind and section.
#[derive(Debug, Default)]
struct Coverage {
    sections: BTreeMap<(Kind, String), Section>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Points,
    Tests,
}

#[derive(Debug, Default, PartialEq)]
struct Section {
    live: usize,
    covered: usize,
    deviations: usize,
}

fn measure(root: &Path) -> Result<Coverage, String> {
    let points = list(&read(root, POINTS)?)?;
    let tests = list(&read(root, TESTS)?)?;
    let deviations = deviations(&read(root, DEVIATIONS).unwrap_or_default());
    let mut found = Markers::default();
    scan(&root.join("crates"), &mut found)?;
    found.check(&points, &tests, &deviations)?;
    let covered = found.points();
    let mut coverage = Coverage::default();
    for (id, section) in &points {
        let section = coverage.section(Kind::Points, section);
        section.live += 1;
        section.covered += usize::from(covered.contains(id.as_str()));
        section.deviations += usize::from(deviations.contains(id));
    }
    for (id, folder) in &tests {
        let section = coverage.section(Kind::Tests, folder);
        section.live += 1;
        section.covered += usize::from(found.tests.contains(id));
        section.deviations += usize::from(deviations.contains(id));
    }
    Ok(coverage)
}

impl Coverage {
    fn section(&mut self, kind: Kind, name: &str) -> &mut Section {
        self.sections.entry((kind, name.to_owned())).or_default()
    }

    fn report(&self) -> String {
        let mut report = String::new();
        for (kind, title) in [(Kind::Points, "specification points"), (Kind::Tests, "UTS tests")] {
            let sections = || self.sections.iter().filter(move |((own, _), _)| *own == kind);
            let total: usize = sections().map(|(_, section)| section.live).sum();
            let covered: usize = sections().map(|(_, section)| section.covered).sum();
            let _ = writeln!(report, "{title}: {covered} of {total} have a test");
            for ((_, name), section) in sections() {
                let Section { live, covered, deviations } = section;
                let _ = write!(report, "  {covered:>4} of {live:<4} {name}");
                let _ = match deviations {
                    0 => writeln!(report),
                    _ => writeln!(report, " ({deviations} do not apply)"),
                };
            }
        }
        report.trim_end().to_owned()
    }

    fn floor(&self) -> String {
        let mut floor =
            String::from("# What `cargo xtask spec` may not fall below: kind, count, section\n");
        for ((kind, name), section) in &self.sections {
            if section.covered > 0 {
                let _ = writeln!(floor, "{}\t{}\t{name}", kind.name(), section.covered);
            }
        }
        floor
    }

    fn below(&self, floor: &Floor) -> Vec<String> {
        let fallen = floor.0.iter().filter_map(|((kind, name), least)| {
            let covered =
                self.sections.get(&(*kind, name.clone())).map_or(0, |section| section.covered);
            (covered < *least)
                .then(|| format!("{name}: {covered} {} instead of {least}", kind.name()))
        });
        fallen.collect()
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Points => "points",
            Self::Tests => "tests",
        }
    }
}

/// The least coverage that each section must have.
#[derive(Debug, PartialEq)]
struct Floor(BTreeMap<(Kind, String), usize>);

impl Floor {
    fn read(root: &Path) -> Result<Self, String> {
        Self::parse(&read(root, FLOOR)?)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let floor = lines.map(|line| {
            let mut fields = line.splitn(3, '\t');
            let kind = match fields.next() {
                Some("points") => Kind::Points,
                Some("tests") => Kind::Tests,
                _ => return Err(format!("{FLOOR}: `{line}` has no kind")),
            };
            let count = fields.next().and_then(|count| count.parse().ok());
            match (count, fields.next()) {
                (Some(count), Some(name)) => Ok(((kind, name.to_owned()), count)),
                _ => Err(format!("{FLOOR}: `{line}` has no count and section")),
            }
        });
        Ok(Self(floor.collect::<Result<_, _>>()?))
    }
}

/// The ids in the comments above tests.
#[derive(Debug, Default)]
struct Markers {
    tests: BTreeSet<String>,
    spec: BTreeSet<String>,
}

impl Markers {
    fn read(&mut self, source: &str) {
        for line in source.lines() {
            let line = line.trim_start();
            if let Some(id) = line.strip_prefix("// UTS: ") {
                self.tests.insert(id.trim().to_owned());
            } else if let Some(points) = line.strip_prefix("// Spec: ") {
                self.spec.extend(points.split(',').map(|point| point.trim().to_owned()));
            }
        }
    }

    /// The points that are covered, by ported tests or by others.
    fn points(&self) -> BTreeSet<&str> {
        let ported = self.tests.iter().filter_map(|id| id.split('/').nth(2));
        let ported = ported.flat_map(|points| points.split('-'));
        ported.chain(self.spec.iter().map(String::as_str)).collect()
    }

    /// Fails for an id that is not in the lists, and for an id that is both covered and listed as a deviation.
    fn check(
        &self,
        points: &BTreeMap<String, String>,
        tests: &BTreeMap<String, String>,
        deviations: &BTreeSet<String>,
    ) -> Result<(), String> {
        let unknown_tests = self.tests.iter().filter(|id| !tests.contains_key(*id));
        let unknown_points = self.spec.iter().filter(|id| !points.contains_key(*id));
        let unknown_deviations =
            deviations.iter().filter(|id| !tests.contains_key(*id) && !points.contains_key(*id));
        let covered = self.points();
        let both = deviations
            .iter()
            .filter(|id| self.tests.contains(*id) || covered.contains(id.as_str()));
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(unknown_tests.map(|id| format!("`{id}` is not a test of the UTS")));
        wrong.extend(unknown_points.map(|id| format!("`{id}` is not a live point")));
        wrong.extend(
            unknown_deviations
                .map(|id| format!("`{id}` is neither a test of the UTS nor a live point")),
        );
        wrong.extend(both.map(|id| format!("`{id}` has a test, and is listed in {DEVIATIONS}")));
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

fn deviations(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`')).map(|(id, _)| id.to_owned()).collect()
}

fn list(text: &str) -> Result<BTreeMap<String, String>, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let entries = lines.map(|line| match line.split_once('\t') {
        Some((id, section)) => Ok((id.to_owned(), section.to_owned())),
        None => Err(format!("`{line}` has no section")),
    });
    entries.collect()
}

fn scan(folder: &Path, found: &mut Markers) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            scan(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path);
            found.read(&source.map_err(|error| format!("{}: {error}", path.display()))?);
        }
    }
    Ok(())
}

fn read(root: &Path, file: &str) -> Result<String, String> {
    fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let points = list("# comment\nRSL1a\tChannel\nRSL1b\tChannel\nRTN1\tConnection\n").unwrap();
        let tests = list("rest/unit/RSL1a-RSL1b/both-0\trest/unit\n").unwrap();
        (points, tests)
    }

    fn markers(source: &str) -> Markers {
        let mut found = Markers::default();
        found.read(source);
        found
    }

    #[test]
    fn a_ported_test_covers_the_points_of_its_id() {
        let found = markers("    // UTS: rest/unit/RSL1a-RSL1b/both-0\n// Spec: RTN1\n");
        let (points, tests) = lists();
        found.check(&points, &tests, &BTreeSet::new()).unwrap();
        assert_eq!(found.points().into_iter().collect::<Vec<_>>(), ["RSL1a", "RSL1b", "RTN1"]);
    }

    #[test]
    fn an_id_nobody_knows_is_a_mistake() {
        let (points, tests) = lists();
        let wrong = |source: &str, deviations: &str| {
            let deviations = super::deviations(deviations);
            markers(source).check(&points, &tests, &deviations).unwrap_err()
        };
        assert_eq!(
            wrong("// UTS: rest/unit/RSL9/x-0", ""),
            "`rest/unit/RSL9/x-0` is not a test of the UTS"
        );
        assert_eq!(wrong("// Spec: RSL1a, RSL9", ""), "`RSL9` is not a live point");
        assert_eq!(
            wrong("", "| `nobody/knows` | why |"),
            "`nobody/knows` is neither a test of the UTS nor a live point"
        );
        let test = "// UTS: rest/unit/RSL1a-RSL1b/both-0";
        for id in ["rest/unit/RSL1a-RSL1b/both-0", "RSL1b"] {
            let both = wrong(test, &format!("| `{id}` | why |"));
            assert_eq!(both, format!("`{id}` has a test, and is listed in docs/uts-deviations.md"));
        }
    }

    #[test]
    fn tests_and_points_can_be_set_aside() {
        let (points, tests) = lists();
        let deviations = deviations(
            "| test | why |\n|---|---|\n| `rest/unit/RSL1a-RSL1b/both-0` | why |\n| `RTN1` | why |\n",
        );
        markers("").check(&points, &tests, &deviations).unwrap();
        assert_eq!(deviations.len(), 2);
    }

    #[test]
    fn a_section_may_not_fall() {
        let mut coverage = Coverage::default();
        *coverage.section(Kind::Tests, "rest/unit") =
            Section { live: 5, covered: 2, deviations: 0 };
        let floor = Floor::parse(&coverage.floor()).unwrap();
        assert_eq!(coverage.below(&floor), Vec::<String>::new());
        coverage.section(Kind::Tests, "rest/unit").covered = 1;
        assert_eq!(coverage.below(&floor), ["rest/unit: 1 tests instead of 2"]);
    }
}
