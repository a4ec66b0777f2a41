//! Lists from the service: how much of a list a command prints, and the pages that it reads for that.

use std::{
    io::{self, IsTerminal, Write},
    pin::pin,
};

use capably::{
    Millis,
    rest::{PaginatedResult, Query, QueryItem},
};
use clap::Args;
use futures_util::StreamExt;

use crate::{failure::Failure, output::notice, stats::thousands, time::time};

/// The most items of a page.
const MAX_PAGE: u64 = 1_000;

/// The options of every command that prints a list.
#[derive(Debug, Args)]
pub(crate) struct Amount {
    /// Print at most N items
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        conflicts_with = "all",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    limit: u64,

    /// Print all items
    #[arg(long)]
    all: bool,
}

/// The options of a list of the past.
#[derive(Debug, Args)]
pub(crate) struct Period {
    /// First time: as in 2026-01-31T09:30:00Z, ms since 1970, or 2h ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) start: Option<Millis>,

    /// Last time, in the same forms
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) end: Option<Millis>,
}

impl Period {
    /// # Errors
    /// Wrong usage for a start after the end.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match (self.start, self.end) {
            (Some(start), Some(end)) if start > end => {
                Err(Failure::usage("--start is after --end"))
            }
            _ => Ok(()),
        }
    }
}

impl Amount {
    /// The number of items to print.
    pub(crate) fn limit(&self) -> u64 {
        if self.all { u64::MAX } else { self.limit }
    }

    /// The number of items to ask for in one page.
    pub(crate) fn page(&self) -> u32 {
        u32::try_from(self.limit().min(MAX_PAGE)).unwrap_or(1)
    }

    /// Reads a list and calls `print` for each page, with the items of it that are wanted. Returns the number of items.
    ///
    /// A line on stderr shows the progress on a terminal, and says at the end whether the service has more.
    pub(crate) async fn each_page<T: QueryItem>(
        &self,
        query: Query<T>,
        mut print: impl FnMut(&[T]) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let first: PaginatedResult<T> = query.limit(self.page()).await?;
        let mut pages = pin!(first.pages());
        let (mut printed, mut unreadable, mut more) = (0, 0, false);
        let mut progress = Progress::new();
        while printed < self.limit() {
            let Some(page) = pages.next().await.transpose()? else { break };
            let wanted = usize::try_from(self.limit() - printed).unwrap_or(usize::MAX);
            let items = &page.items()[..wanted.min(page.items().len())];
            progress.clear();
            print(items)?;
            printed += items.len() as u64;
            for item in page.unreadable() {
                unreadable += 1;
                notice(Failure::from(item.error.clone()));
            }
            more = items.len() < page.items().len() || page.has_next();
            if more {
                progress.show(format_args!("{} items read", thousands(printed)));
            }
        }
        progress.clear();
        self.note_more(more);
        match unreadable {
            0 => Ok(printed),
            count => Err(Failure::failed(format!("{count} items could not be read"))),
        }
    }

    /// Says on stderr that the list is longer.
    pub(crate) fn note_more(&self, more: bool) {
        if more && !self.all {
            notice(format_args!("There are more: use --limit or --all"));
        }
    }
}

/// A line on stderr that shows how far long work is. Nothing is written unless stderr is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), shown: false }
    }

    /// Replaces the line.
    pub(crate) fn show(&mut self, text: std::fmt::Arguments<'_>) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
            self.shown = true;
        }
    }

    /// Removes the line, so that other text can be written.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
