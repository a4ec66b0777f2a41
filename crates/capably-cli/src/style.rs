//! Colours, and what else only a terminal understands.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{self, IsTerminal},
    sync::OnceLock,
};

use clap::ColorChoice;

/// The choice of `--color`.
static CHOICE: OnceLock<ColorChoice> = OnceLock::new();

/// Sets the choice of `--color`, for all styles of the process.
pub(crate) fn choose(choice: ColorChoice) {
    // The first choice is the only one: the command line is read once.
    let _ = CHOICE.set(choice);
}

/// The choice of `--color` in arguments that are not parsed yet: help and errors of the parser are coloured, too.
pub(crate) fn choice_of(arguments: impl Iterator<Item = OsString>) -> ColorChoice {
    let arguments: Vec<_> = arguments.filter_map(|word| word.into_string().ok()).collect();
    let given = arguments.iter().enumerate().find_map(|(at, word)| match word.as_str() {
        "--color" => arguments.get(at + 1).map(String::as_str),
        word => word.strip_prefix("--color="),
    });
    match given {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// The style of standard output.
    pub(crate) fn stdout() -> Self {
        Self { colours: stdout_has_colours() }
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

/// Whether text on standard output is coloured.
pub(crate) fn stdout_has_colours() -> bool {
    colours(io::stdout().is_terminal())
}

/// Whether text on stderr is coloured.
pub(crate) fn stderr_has_colours() -> bool {
    colours(io::stderr().is_terminal())
}

/// Whether stderr is a terminal on which a line can be replaced.
pub(crate) fn stderr_is_live() -> bool {
    io::stderr().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn colours(terminal: bool) -> bool {
    let choice = CHOICE.get().copied().unwrap_or(ColorChoice::Auto);
    decide(choice, terminal, |name| env::var_os(name))
}

/// The rule: `--color` before `NO_COLOR` before `CLICOLOR_FORCE` before the terminal. An empty variable counts as not set.
fn decide(
    choice: ColorChoice,
    terminal: bool,
    variable: impl Fn(&str) -> Option<OsString>,
) -> bool {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set("NO_COLOR").is_some() => false,
        ColorChoice::Auto if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        ColorChoice::Auto if set("CLICOLOR").is_some_and(|value| value == "0") => false,
        ColorChoice::Auto => terminal && set("TERM").is_none_or(|term| term != "dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_goes_before_the_variables_and_these_before_the_terminal() {
        use ColorChoice::{Always, Auto, Never};
        for (choice, terminal, variables, expected) in [
            (Auto, true, &[][..], true),
            (Auto, false, &[], false),
            (Auto, true, &[("NO_COLOR", "1")], false),
            (Auto, true, &[("NO_COLOR", ""), ("TERM", "xterm")], true),
            (Auto, true, &[("TERM", "dumb")], false),
            (Auto, true, &[("CLICOLOR", "0")], false),
            (Auto, false, &[("CLICOLOR", "1")], false),
            (Auto, false, &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true),
            (Auto, false, &[("CLICOLOR_FORCE", "0")], false),
            (Auto, true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
            (Always, false, &[("NO_COLOR", "1"), ("TERM", "dumb")], true),
            (Never, true, &[("CLICOLOR_FORCE", "1")], false),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let decided = decide(choice, terminal, variable);
            assert_eq!(decided, expected, "{choice:?}, terminal: {terminal}, {variables:?}");
        }
        assert_eq!(Style { colours: true }.bold("a"), "\x1b[1ma\x1b[0m");
        assert_eq!(Style { colours: false }.dim("a"), "a");
    }

    #[test]
    fn the_choice_is_found_in_arguments_that_are_not_parsed_yet() {
        let choice = |line: &str| choice_of(line.split(' ').map(OsString::from));
        assert_eq!(choice("capably stats --color never"), ColorChoice::Never);
        assert_eq!(choice("capably --color=always stats"), ColorChoice::Always);
        assert_eq!(choice("capably stats --color"), ColorChoice::Auto);
        assert_eq!(choice("capably stats"), ColorChoice::Auto);
    }
}
