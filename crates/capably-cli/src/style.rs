//! Colours of the text output.

use std::{
    env,
    ffi::OsStr,
    fmt,
    io::{self, IsTerminal},
};

/// Whether text is coloured: only on a terminal, and not with `NO_COLOR` or on a terminal without colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// The style of standard output.
    pub(crate) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        Self::of(terminal, env::var_os("NO_COLOR").as_deref(), env::var_os("TERM").as_deref())
    }

    /// The rule: an empty `NO_COLOR` counts as not set.
    fn of(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        let dumb = term.is_some_and(|term| term == "dumb");
        Self { colours: terminal && !refused && !dumb }
    }

    /// Text of headings.
    pub(crate) fn bold(self, text: impl fmt::Display) -> String {
        self.paint("1", text)
    }

    /// Text of less importance, such as times.
    pub(crate) fn dim(self, text: impl fmt::Display) -> String {
        self.paint("2", text)
    }

    /// The bars of a chart.
    pub(crate) fn accent(self, text: impl fmt::Display) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: impl fmt::Display) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_wants_colours_gets_them() {
        let (set, empty, dumb) = (OsStr::new("1"), OsStr::new(""), OsStr::new("dumb"));
        for (terminal, no_color, term, colours) in [
            (true, None, None, true),
            (true, Some(empty), Some(OsStr::new("xterm")), true),
            (true, Some(set), None, false),
            (true, None, Some(dumb), false),
            (false, None, None, false),
        ] {
            assert_eq!(Style::of(terminal, no_color, term), Style { colours });
        }
        assert_eq!(Style { colours: true }.bold("a"), "\x1b[1ma\x1b[0m");
        assert_eq!(Style { colours: false }.dim("a"), "a");
    }
}
