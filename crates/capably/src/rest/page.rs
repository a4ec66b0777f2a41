//! Pages of results (TG).

use std::{collections::HashSet, fmt, iter, sync::Arc};

use capably_protocol::ErrorCode;
use futures_core::Stream;
use futures_util::stream::{self, TryStreamExt};

use super::{
    link::{self, Links},
    request::{Call, Pipeline},
    response::Reply,
};
use crate::{Error, Result};

/// So many pages in a row without an item show that there is no end to them.
const MAX_EMPTY_PAGES: usize = 100;

/// One page of results, and the way to the others (TG1).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = capably_server::Server::builder().start().await?;
/// # let options = capably::ClientOptions::new(server.key())
/// #     .endpoint(server.endpoint()).port(server.port()).tls(false);
/// # let channel = capably::Rest::new(options)?.channels().get("greetings");
/// # for n in 0..3 { channel.publish("n", n.to_string()).await?; }
/// use futures_util::TryStreamExt;
///
/// let mut page = channel.history().limit(2).await?;
/// loop {
///     for message in page.items() {
///         println!("{:?}", message.data);
///     }
///     match page.next().await? {
///         Some(next) => page = next,
///         None => break,
///     }
/// }
///
/// // The same, as a stream of messages over all pages.
/// let all: Vec<_> = channel.history().limit(2).await?.items_stream().try_collect().await?;
/// assert_eq!(all.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PaginatedResult<T> {
    items: Vec<T>,
    unreadable: Vec<UnreadableItem>,
    links: Links,
    call: Call,
    origin: String,
    source: Source<T>,
}

/// An item of a page that cannot be read. The other items of the page are not affected.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnreadableItem {
    /// The place of the item: as many of the page's [`items`](PaginatedResult::items) come before it.
    pub index: usize,
    /// Why the item cannot be read, with the code 40013.
    pub error: Error,
}

/// What reads the items of a reply.
type Decode<T> = dyn Fn(&Reply) -> Result<Vec<T>> + Send + Sync;

/// Where pages come from and what their items are.
struct Source<T> {
    pipeline: Arc<Pipeline>,
    decode: Arc<Decode<T>>,
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Self {
        Self { pipeline: Arc::clone(&self.pipeline), decode: Arc::clone(&self.decode) }
    }
}

impl<T> Source<T> {
    async fn load(&self, call: Call) -> Result<PaginatedResult<T>> {
        let reply = self.pipeline.send(&call).await?;
        let (items, unreadable) = self.read(&reply)?;
        let links = Links::parse(reply.links.iter().map(String::as_str));
        let source = self.clone();
        Ok(PaginatedResult { items, unreadable, links, call, origin: reply.origin, source })
    }

    /// Reads the items of a reply: one by one if one of them is unreadable, since the link to the next page and the
    /// other items would be lost with it.
    fn read(&self, reply: &Reply) -> Result<(Vec<T>, Vec<UnreadableItem>)> {
        let failure = match (self.decode)(reply) {
            Ok(items) => return Ok((items, Vec::new())),
            Err(error) => error,
        };
        let parts = reply.split().ok_or(failure)?;
        let (mut items, mut unreadable) = (Vec::new(), Vec::new());
        for part in parts {
            match (self.decode)(&part) {
                Ok(read) => items.extend(read),
                Err(error) => unreadable.push(UnreadableItem { index: items.len(), error }),
            }
        }
        if let Some(UnreadableItem { error, .. }) = unreadable.first() {
            tracing::warn!(count = unreadable.len(), %error, "a page has items that cannot be read");
        }
        Ok((items, unreadable))
    }
}

impl<T> PaginatedResult<T> {
    /// Loads the first page of a call.
    pub(crate) async fn load(
        pipeline: Arc<Pipeline>,
        call: Call,
        decode: impl Fn(&Reply) -> Result<Vec<T>> + Send + Sync + 'static,
    ) -> Result<Self> {
        Source { pipeline, decode: Arc::new(decode) }.load(call).await
    }

    /// The results on this page (TG3).
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// The results on this page, for good.
    pub fn into_items(self) -> Vec<T> {
        self.items
    }

    /// The items of this page that cannot be read, in the order of their places. They are missing in
    /// [`items`](Self::items).
    pub fn unreadable(&self) -> &[UnreadableItem] {
        &self.unreadable
    }

    /// The items of this page, and an error in the place of each that cannot be read.
    pub(crate) fn into_results(self) -> impl Iterator<Item = Result<T>> {
        let mut unreadable = self.unreadable.into_iter().peekable();
        let mut items = self.items.into_iter();
        let mut passed = 0;
        iter::from_fn(move || {
            if let Some(missing) = unreadable.next_if(|missing| missing.index <= passed) {
                return Some(Err(missing.error));
            }
            passed += 1;
            items.next().map(Ok)
        })
    }

    /// Whether there is another page after this one (TG6).
    pub fn has_next(&self) -> bool {
        self.links.next.is_some()
    }

    /// Whether this is the last page (TG7).
    pub fn is_last(&self) -> bool {
        !self.has_next()
    }

    /// The next page; `None` after the last (TG4).
    ///
    /// # Errors
    /// Those of any REST request, and 40000 for a link to another host.
    pub async fn next(&self) -> Result<Option<Self>> {
        self.go(self.links.next.as_deref()).await
    }

    /// The first page (TG5); `None` when the service did not say where it is, as with results that fit
    /// on one page.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn first(&self) -> Result<Option<Self>> {
        self.go(self.links.first.as_deref()).await
    }

    /// This page, loaded again.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn current(&self) -> Result<Self> {
        let call = match &self.links.current {
            Some(link) => self.follow(link)?,
            None => self.call.clone(),
        };
        self.source.load(call).await
    }

    async fn go(&self, link: Option<&str>) -> Result<Option<Self>> {
        let Some(link) = link else { return Ok(None) };
        self.source.load(self.follow(link)?).await.map(Some)
    }

    /// The call that a link on this page stands for. It may go to another of the client's hosts.
    fn follow(&self, link: &str) -> Result<Call> {
        let call = link::resolve(link, self.call.target(), &self.origin).map(Call::get)?;
        Ok(call.expecting(self.call.max_response()))
    }

    /// This page and all that follow, each loaded when it is asked for.
    ///
    /// An error ends the stream: those of [`next`](Self::next), and 40011 when the pages lead in a
    /// circle or seem to have no end: after 100 without an item.
    pub fn pages(self) -> impl Stream<Item = Result<Self>> + Send
    where
        T: Send + 'static,
    {
        let way = Way { seen: HashSet::from([self.call.target().to_owned()]), empty: 0 };
        let source = self.source.clone();
        stream::try_unfold((Step::Have(self), way), move |(step, mut way)| {
            let source = source.clone();
            async move {
                let page = match step {
                    Step::Have(page) => page,
                    Step::Load(call) => source.load(call).await?,
                    Step::Failed(error) => return Err(error),
                    Step::End => return Ok(None),
                };
                // A page is worth having even when its link is not.
                let next = match way.after(&page) {
                    Ok(Some(call)) => Step::Load(call),
                    Ok(None) => Step::End,
                    Err(error) => Step::Failed(error),
                };
                Ok(Some((page, (next, way))))
            }
        })
    }

    /// The results of this page and of all that follow.
    ///
    /// An item that cannot be read is an error in its place, with the code 40013, and the stream goes on behind it. Any
    /// other error ends the stream, as with [`pages`](Self::pages).
    pub fn items_stream(self) -> impl Stream<Item = Result<T>> + Send
    where
        T: Send + Sync + 'static,
    {
        self.pages().map_ok(|page| stream::iter(page.into_results())).try_flatten()
    }
}

enum Step<T> {
    Have(PaginatedResult<T>),
    Load(Call),
    Failed(Error),
    End,
}

/// The way from page to page, which has to have an end.
struct Way {
    /// What was asked for so far.
    seen: HashSet<String>,
    /// How many pages in a row had no item.
    empty: usize,
}

impl Way {
    /// What loads the page after this one, if there is one.
    ///
    /// # Errors
    /// Code 40000 for a link to another host, 40011 for one that leads nowhere.
    fn after<T>(&mut self, page: &PaginatedResult<T>) -> Result<Option<Call>> {
        let is_empty = page.items.is_empty() && page.unreadable.is_empty();
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        let Some(link) = &page.links.next else { return Ok(None) };
        let call = page.follow(link)?;
        if !self.seen.insert(call.target().to_owned()) {
            return Err(nowhere("lead in a circle: a page links to one that came before it"));
        }
        if self.empty > MAX_EMPTY_PAGES {
            return Err(nowhere("seem to have no end: one after the other is empty"));
        }
        Ok(Some(call))
    }
}

fn nowhere(what: &str) -> Error {
    let code = ErrorCode::PAGINATION_SEQUENCE_NO_LONGER_VALID;
    Error::new(code, 400, format!("the pages {what}"))
        .with_remedy("start the query again; if it repeats, check what answers at the endpoint")
}

impl<T: fmt::Debug> fmt::Debug for PaginatedResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaginatedResult")
            .field("items", &self.items)
            .field("unreadable", &self.unreadable)
            .field("has_next", &self.has_next())
            .finish_non_exhaustive()
    }
}
