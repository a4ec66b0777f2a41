//! `capably explain`.

use std::fmt::Write as _;

use capably::ErrorCode;
use clap::Args;
use serde_json::{Value, json};

use crate::{failure::Failure, output::Output, pages::Page};

/// The number of codes that an error about an unknown code suggests.
const SUGGESTIONS: usize = 3;

/// Explain an error code: what it means, its usual causes, and what to do
#[derive(Debug, Args)]
#[command(after_help = "\
Without a code, the command lists every code. A word lists the codes with this
word in their title.

Examples:
  capably explain 40160
  capably explain 40160 --json
  capably explain token
  capably explain")]
pub(crate) struct Explain {
    /// Code, as in 40160, or a word
    #[arg(value_name = "CODE")]
    wanted: Option<String>,

    /// Print JSON: one object for a code, one object a line for a list
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut output = Output::stdout();
        match self.wanted.as_deref().map(str::trim) {
            None | Some("") => self.list(&mut output, ErrorCode::all())?,
            Some(wanted) if wanted.bytes().all(|byte| byte.is_ascii_digit()) => {
                // A number beyond the largest code is as unknown as that one.
                let code = ErrorCode(wanted.parse().unwrap_or(u32::MAX));
                let page = Page::find(code).ok_or_else(|| unknown(wanted, code))?;
                self.page(&mut output, &page)?;
            }
            Some(word) => self.list(&mut output, named(word)?.into_iter())?,
        }
        output.flush()
    }

    fn page(&self, output: &mut Output, page: &Page) -> Result<(), Failure> {
        if self.json {
            return output.json(to_json(page));
        }
        output.bytes(text(page).as_bytes())
    }

    fn list(
        &self,
        output: &mut Output,
        codes: impl Iterator<Item = ErrorCode>,
    ) -> Result<(), Failure> {
        for page in codes.filter_map(Page::find) {
            if self.json {
                output.json(to_json(&page))?;
            } else {
                output.line(format_args!("{:>6}  {}", page.code, title(page.code)))?;
            }
        }
        Ok(())
    }
}

fn title(code: ErrorCode) -> &'static str {
    code.title().unwrap_or_default()
}

fn to_json(page: &Page) -> Value {
    json!({
        "code": page.code,
        "title": title(page.code),
        "meaning": page.meaning,
        "causes": page.causes,
        "remedies": page.remedies,
    })
}

fn text(page: &Page) -> String {
    let mut text = format!("{}  {}\n\n{}\n", page.code, title(page.code), page.meaning);
    for (heading, lines) in [("Usual causes", &page.causes), ("What to do", &page.remedies)] {
        if !lines.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{heading}:\n");
        }
        for line in lines {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}

/// The codes whose title contains the word.
fn named(word: &str) -> Result<Vec<ErrorCode>, Failure> {
    let word_lower = word.to_lowercase();
    let codes: Vec<ErrorCode> =
        ErrorCode::all().filter(|code| title(*code).to_lowercase().contains(&word_lower)).collect();
    if codes.is_empty() {
        let failure = Failure::usage(format!("no error code has `{word}` in its title"));
        return Err(failure.remedy("list all codes with `capably explain`"));
    }
    Ok(codes)
}

fn unknown(wanted: &str, code: ErrorCode) -> Failure {
    let nearest: Vec<String> =
        nearest(code).iter().map(|code| format!("{code} ({})", title(*code))).collect();
    Failure::usage(format!("there is no error code {wanted}"))
        .remedy(format!("the nearest codes are {}", nearest.join(", ")))
}

/// The codes that begin with the same digits, or else those with the nearest numbers, in ascending order.
fn nearest(code: ErrorCode) -> Vec<ErrorCode> {
    let digits = code.to_string();
    let begun = ErrorCode::all().filter(|other| other.to_string().starts_with(&digits));
    let mut codes: Vec<ErrorCode> = begun.collect();
    if codes.is_empty() {
        codes = ErrorCode::all().collect();
        codes.sort_by_key(|other| other.0.abs_diff(code.0));
    }
    codes.truncate(SUGGESTIONS);
    codes.sort_unstable();
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_codes_begin_with_the_same_digits_or_are_on_both_sides() {
        let numbers = |code| nearest(ErrorCode(code)).iter().map(|code| code.0).collect::<Vec<_>>();
        assert_eq!(numbers(4016), [40160, 40161, 40162]);
        assert_eq!(numbers(40138), [40140, 40141, 40142]);
        assert_eq!(numbers(40134), [40131, 40132, 40133]);
        assert_eq!(numbers(0), [10000, 20000, 40000]);
        assert_eq!(numbers(u32::MAX), [104011, 104012, 104013]);
    }
}
