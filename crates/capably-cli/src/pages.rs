//! Pages about error codes: the meaning, the usual causes, and what to do.
//!
//! The texts are in `pages/*.txt`. A page starts with its code and its meaning. A line after `- ` is a cause, and a line
//! after `> ` a remedy, the first to try first. An empty line ends a page.

use capably::ErrorCode;

const TEXTS: [&str; 5] = [
    include_str!("pages/requests.txt"),
    include_str!("pages/credentials.txt"),
    include_str!("pages/service.txt"),
    include_str!("pages/channels.txt"),
    include_str!("pages/products.txt"),
];

/// A page about an error code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) code: ErrorCode,
    pub(crate) meaning: &'static str,
    pub(crate) causes: Vec<&'static str>,
    pub(crate) remedies: Vec<&'static str>,
}

impl Page {
    /// The page about a code; `None` for a code that is not on the list.
    pub(crate) fn find(code: ErrorCode) -> Option<Self> {
        Self::all().find(|page| page.code == code)
    }

    /// Whether the page says more than a general remedy: errors refer to such a page.
    pub(crate) fn has_causes(&self) -> bool {
        !self.causes.is_empty()
    }

    fn all() -> impl Iterator<Item = Self> {
        TEXTS.iter().flat_map(|text| text.split("\n\n")).filter_map(Self::parse)
    }

    fn parse(text: &'static str) -> Option<Self> {
        let mut lines = text.lines();
        let (code, meaning) = lines.next()?.split_once(' ')?;
        let code = ErrorCode(code.parse().ok()?);
        let mut page = Self { code, meaning, causes: Vec::new(), remedies: Vec::new() };
        for line in lines {
            if let Some(cause) = line.strip_prefix("- ") {
                page.causes.push(cause);
            } else {
                page.remedies.push(line.strip_prefix("> ")?);
            }
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_page_with_a_remedy_and_those_met_often_have_causes() {
        let mut pages: Vec<Page> = Page::all().collect();
        pages.sort_by_key(|page| page.code);
        assert!(pages.iter().map(|page| page.code).eq(ErrorCode::all()));
        for page in &pages {
            assert!(!page.meaning.is_empty() && !page.remedies.is_empty(), "{:?}", page.code);
        }
        assert!(pages.iter().filter(|page| page.has_causes()).count() >= 60);
    }

    /// A line of the wrong form would make `parse` drop its whole page.
    #[test]
    fn no_page_is_dropped() {
        let written = TEXTS.iter().flat_map(|text| text.trim_end().split("\n\n")).count();
        assert_eq!(written, Page::all().count());
    }

    #[test]
    fn a_text_fits_a_line_and_is_a_sentence() {
        for page in Page::all() {
            for text in [page.meaning].iter().chain(&page.causes).chain(&page.remedies) {
                assert!(
                    text.ends_with('.') && text.chars().count() <= 118,
                    "{}: {text}",
                    page.code
                );
            }
        }
    }
}
