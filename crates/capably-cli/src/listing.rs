//! Lists from the service: how much of a list a command prints, and the pages that it reads for that.

use std::{
    io::{self, Write},
    pin::pin,
};

use capably::{
    Millis,
    rest::{
        HttpPaginatedResponse, HttpRequestBuilder, PaginatedResult, Query, QueryItem,
        UnreadableItem,
    },
};
use clap::Args;
use futures_util::{FutureExt, Stream, StreamExt, TryFutureExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    commands::succeeded,
    failure::Failure,
    output::{Output, notice},
    service::Service,
    stats::thousands,
    style::{self, Style},
    table::Table,
    time::time,
};

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

/// The options of a command that does nothing but print a list.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Print one JSON object per line, for other programs
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) amount: Amount,

    #[command(flatten)]
    pub(crate) service: Service,
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
        print: impl FnMut(&[T]) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let first: PaginatedResult<T> = query.limit(self.page()).await?;
        self.each(first.pages().map_err(Failure::from), print).await
    }

    /// As [`each_page`](Self::each_page), for the answers to a request without a type of its own.
    pub(crate) async fn each_answer(
        &self,
        request: HttpRequestBuilder,
        print: impl FnMut(&[Value]) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let first = request.param("limit", self.page()).into_future().map_ok(Some).boxed();
        let pages = stream::try_unfold(first, |page| async {
            let Some(page) = page.await? else { return Ok(None) };
            let page = succeeded(page)?;
            let next = page.next();
            Ok(Some((page, next)))
        });
        self.each(pages, print).await
    }

    async fn each<P: Page>(
        &self,
        pages: impl Stream<Item = Result<P, Failure>>,
        mut print: impl FnMut(&[P::Item]) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let mut pages = pin!(pages);
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

/// A page of a list.
trait Page {
    type Item;

    fn items(&self) -> &[Self::Item];

    fn unreadable(&self) -> &[UnreadableItem];

    fn has_next(&self) -> bool;
}

impl<T> Page for PaginatedResult<T> {
    type Item = T;

    fn items(&self) -> &[T] {
        self.items()
    }

    fn unreadable(&self) -> &[UnreadableItem] {
        self.unreadable()
    }

    fn has_next(&self) -> bool {
        self.has_next()
    }
}

impl Page for HttpPaginatedResponse {
    type Item = Value;

    fn items(&self) -> &[Value] {
        self.items()
    }

    fn unreadable(&self) -> &[UnreadableItem] {
        &[]
    }

    fn has_next(&self) -> bool {
        self.has_next()
    }
}

/// Prints the items of a list, page by page: each as a row of a table, or as JSON.
#[derive(Debug)]
pub(crate) struct Printer<T> {
    output: Output,
    style: Style,
    json: bool,
    table: Table,
    cells: fn(&T) -> Vec<String>,
}

impl<T: Serialize> Printer<T> {
    pub(crate) fn new(
        json: bool,
        heading: impl Into<Vec<&'static str>>,
        cells: fn(&T) -> Vec<String>,
    ) -> Self {
        let (output, style) = (Output::stdout(), Style::stdout());
        Self { output, style, json, table: Table::new(heading), cells }
    }

    /// Prints a page.
    pub(crate) fn page(&mut self, items: &[T]) -> Result<(), Failure> {
        for item in items {
            if self.json {
                self.output.json(json!(item))?;
            } else {
                self.table.row((self.cells)(item));
            }
        }
        self.table.print(&mut self.output, self.style)?;
        self.output.flush()
    }
}

/// A line on stderr that shows how far long work is. Nothing is written unless stderr is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    is_live: bool,
    shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { is_live: style::stderr_is_live(), shown: false }
    }

    /// Replaces the line.
    pub(crate) fn show(&mut self, text: std::fmt::Arguments<'_>) {
        if self.is_live {
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
