//! Pages of results (TG).

use std::{collections::HashSet, fmt, iter, sync::Arc};

use capably_protocol::ErrorCode;
use futures_core::Stream;
use futures_util::stream::{self, TryStreamExt};

use super::{
    call::Call,
    link::{self, Links},
    pipeline::Pipeline,
    response::Reply,
};
use crate::{Error, Result, http::BoxFuture};

/// After this many empty pages in a row, the pages count as endless.
const MAX_EMPTY_PAGES: usize = 100;

/// One page of results, with links to the other pages (TG1).
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
    loader: PageLoader<T>,
}

/// An item of a page that cannot be read. The other items of the page are not affected.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnreadableItem {
    /// The position of the item: the number of the page's [`items`](PaginatedResult::items) before it.
    pub index: usize,
    /// The reason, with the code 40013.
    pub error: Error,
}

/// Reads the items of a reply.
type Decode<T> = dyn Fn(&Reply) -> Result<Vec<T>> + Send + Sync;

/// Loads pages, and reads their items.
struct PageLoader<T> {
    pipeline: Arc<Pipeline>,
    decode: Arc<Decode<T>>,
}

impl<T> Clone for PageLoader<T> {
    fn clone(&self) -> Self {
        Self { pipeline: Arc::clone(&self.pipeline), decode: Arc::clone(&self.decode) }
    }
}

impl<T> PageLoader<T> {
    async fn load(&self, call: Call) -> Result<PaginatedResult<T>> {
        let reply = self.pipeline.send(&call).await?;
        let (items, unreadable) = self.read(&reply)?;
        let links = Links::parse(reply.links.iter().map(String::as_str));
        let loader = self.clone();
        Ok(PaginatedResult { items, unreadable, links, call, origin: reply.origin, loader })
    }

    /// Reads the items of a reply. If one of them is unreadable, reads them one by one: otherwise the other items and
    /// the link to the next page would be lost with it.
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
        PageLoader { pipeline, decode: Arc::new(decode) }.load(call).await
    }

    /// The results on this page (TG3).
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// Converts the page into its results.
    pub fn into_items(self) -> Vec<T> {
        self.items
    }

    /// The items of this page that cannot be read, in order. [`items`](Self::items) does not contain them.
    pub fn unreadable(&self) -> &[UnreadableItem] {
        &self.unreadable
    }

    /// The items of this page, with an error in place of each item that cannot be read.
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

    /// Loads the next page when awaited; `None` after the last page (TG4).
    ///
    /// # Errors
    /// The errors of any REST request, and 40000 for a link to another host.
    pub fn next(&self) -> BoxFuture<'static, Result<Option<Self>>>
    where
        T: 'static,
    {
        self.load_linked(self.links.next.as_deref())
    }

    /// Loads the first page when awaited (TG5). `None` if the service sent no link to it, for example because the
    /// results fit on one page.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub fn first(&self) -> BoxFuture<'static, Result<Option<Self>>>
    where
        T: 'static,
    {
        self.load_linked(self.links.first.as_deref())
    }

    /// Loads this page again when awaited.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub fn current(&self) -> BoxFuture<'static, Result<Self>>
    where
        T: 'static,
    {
        let call = match &self.links.current {
            Some(link) => self.follow(link),
            None => Ok(self.call.clone()),
        };
        let loader = self.loader.clone();
        Box::pin(async move { loader.load(call?).await })
    }

    fn load_linked(&self, link: Option<&str>) -> BoxFuture<'static, Result<Option<Self>>>
    where
        T: 'static,
    {
        let call = link.map(|link| self.follow(link)).transpose();
        let loader = self.loader.clone();
        Box::pin(async move {
            match call? {
                Some(call) => loader.load(call).await.map(Some),
                None => Ok(None),
            }
        })
    }

    /// The call for a link on this page. The link may lead to another host of the client's.
    fn follow(&self, link: &str) -> Result<Call> {
        let call = link::resolve(link, self.call.target(), &self.origin).map(Call::get)?;
        Ok(call.expecting(self.call.max_response()))
    }

    /// A stream of this page and all later pages. Each is loaded when the stream is polled for it.
    ///
    /// An error ends the stream: the errors of [`next`](Self::next), and 40011 when the pages form a circle, or 100
    /// pages in a row are empty.
    pub fn pages(self) -> impl Stream<Item = Result<Self>> + Send
    where
        T: Send + 'static,
    {
        let trail = PageTrail { seen: HashSet::from([self.call.target().to_owned()]), empty: 0 };
        let loader = self.loader.clone();
        stream::try_unfold((PageStep::Have(self), trail), move |(step, mut trail)| {
            let loader = loader.clone();
            async move {
                let page = match step {
                    PageStep::Have(page) => page,
                    PageStep::Load(call) => loader.load(call).await?,
                    PageStep::Failed(error) => return Err(error),
                    PageStep::End => return Ok(None),
                };
                // A page is delivered even if its link to the next page is wrong.
                let next = match trail.after(&page) {
                    Ok(Some(call)) => PageStep::Load(call),
                    Ok(None) => PageStep::End,
                    Err(error) => PageStep::Failed(error),
                };
                Ok(Some((page, (next, trail))))
            }
        })
    }

    /// A stream of the results of this page and of all later pages.
    ///
    /// For an item that cannot be read the stream returns an error with the code 40013, and continues. Any other error
    /// ends the stream, as for [`pages`](Self::pages).
    pub fn items_stream(self) -> impl Stream<Item = Result<T>> + Send
    where
        T: Send + Sync + 'static,
    {
        self.pages().map_ok(|page| stream::iter(page.into_results())).try_flatten()
    }
}

enum PageStep<T> {
    Have(PaginatedResult<T>),
    Load(Call),
    Failed(Error),
    End,
}

/// The pages that a stream has visited. They detect pages without an end.
struct PageTrail {
    /// The targets of the loaded pages.
    seen: HashSet<String>,
    /// The number of empty pages in a row.
    empty: usize,
}

impl PageTrail {
    /// The call for the page after this one, if there is one.
    ///
    /// # Errors
    /// Code 40000 for a link to another host; 40011 when the pages have no end.
    fn after<T>(&mut self, page: &PaginatedResult<T>) -> Result<Option<Call>> {
        let is_empty = page.items.is_empty() && page.unreadable.is_empty();
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        let Some(link) = &page.links.next else { return Ok(None) };
        let call = page.follow(link)?;
        if !self.seen.insert(call.target().to_owned()) {
            return Err(endless("the pages form a circle: a page links to an earlier page"));
        }
        if self.empty > MAX_EMPTY_PAGES {
            return Err(endless("the pages seem to have no end: each of the last pages is empty"));
        }
        Ok(Some(call))
    }
}

fn endless(message: &str) -> Error {
    let code = ErrorCode::PAGINATION_SEQUENCE_NO_LONGER_VALID;
    Error::new(code, 400, message).with_remedy(
        "start the query again; if the error repeats, check which server answers at the endpoint",
    )
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
