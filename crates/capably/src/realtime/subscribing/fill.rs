//! Filling gaps from the channel's history (RTL10b).

use std::{
    collections::{HashSet, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    vec,
};

use capably_protocol::{ErrorCode, Message, MessageAction, Str};
use futures_util::TryStreamExt;

use crate::realtime::{
    Channel, Gap, SubscriptionEvent, driver::command::Shared, subscribing::filter::Wanted,
};
use crate::{
    Error, Result,
    http::BoxFuture,
    rest::{Direction, RestChannel},
};

/// How many messages of one gap are read, unless the subscription says otherwise.
pub(crate) const LIMIT: usize = 10_000;

/// The most messages that a page of history can hold.
const PAGE: usize = 1000;

/// How many of the messages handed out last are remembered, to tell repetitions.
const REMEMBERED: usize = 1024;

/// Fills the gaps of one subscription.
pub(crate) struct Filler {
    wanted: Wanted,
    limit: usize,
    handed_out: Recent,
    work: Work,
}

enum Work {
    None,
    /// The lock makes a future that is only [`Send`] sharable; nobody else takes it.
    Reading(Mutex<BoxFuture<'static, Missed>>),
    HandingOut(vec::IntoIter<Message>),
}

/// What history has of a gap, the oldest first.
struct Missed {
    messages: Vec<Message>,
    /// The gap, if that is not all or may not be.
    gap: Option<Gap>,
}

impl Filler {
    pub(crate) fn new(wanted: Wanted, limit: usize) -> Self {
        Self { wanted, limit, handed_out: Recent::default(), work: Work::None }
    }

    /// Begins to fill a gap; [`poll_filled`](Self::poll_filled) says what was in it.
    pub(crate) fn begin(&mut self, gap: Gap, channel: &Channel) {
        let history = channel.rest_channel();
        let echo = history.pipeline().config().options.echo_messages;
        let reading = Reading {
            known: self.handed_out.keys.clone(),
            wanted: self.wanted.clone(),
            limit: self.limit,
            own: (!echo).then(|| Arc::clone(&channel.handle.shared)),
            history,
        };
        self.work = Work::Reading(Mutex::new(Box::pin(reading.read(gap))));
    }

    /// Whether a message that arrived was handed out already, as part of a gap or before one.
    pub(crate) fn is_repeated(&mut self, message: &Message) -> bool {
        // Other actions are about a message that may well have been seen.
        matches!(message.action, None | Some(MessageAction::Create))
            && !self.handed_out.remember(message)
    }

    /// What was missed, one by one; `None` when no gap is being filled any more.
    pub(crate) fn poll_filled(&mut self, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        loop {
            match &mut self.work {
                Work::None => return Poll::Ready(None),
                Work::Reading(missed) => {
                    let missed = missed.get_mut().unwrap_or_else(PoisonError::into_inner);
                    let Missed { messages, gap } = ready!(missed.as_mut().poll(cx));
                    self.work = Work::HandingOut(messages.into_iter());
                    if let Some(gap) = gap {
                        return Poll::Ready(Some(SubscriptionEvent::Gap(gap)));
                    }
                }
                Work::HandingOut(messages) => match messages.next() {
                    Some(message) => {
                        self.handed_out.remember(&message);
                        return Poll::Ready(Some(SubscriptionEvent::Filled(message)));
                    }
                    None => self.work = Work::None,
                },
            }
        }
    }
}

/// Reads what one gap holds.
struct Reading {
    history: RestChannel,
    /// The keys of messages that were handed out before the gap.
    known: HashSet<Str>,
    wanted: Wanted,
    limit: usize,
    /// Knows which messages are the client's own, if it does not want to hear those.
    own: Option<Arc<Shared>>,
}

impl Reading {
    async fn read(self, gap: Gap) -> Missed {
        let mut messages = Vec::new();
        let mut page = (self.limit.saturating_add(1)).min(PAGE) as u32;
        let lacking = loop {
            match self.read_back(&gap, page, &mut messages).await {
                // A page may be larger than what is read of a reply: smaller ones are not.
                Err(error) if error.code() == ErrorCode::INVALID_DATA_OR_ENCODING && page > 1 => {
                    page /= 2;
                    messages.clear();
                }
                Err(error) => break Some(error),
                Ok(unreadable) => break unreadable,
            }
        };
        let read = messages.len();
        messages.retain(|message| self.wanted.contains(message) && !self.is_own(message));
        messages.reverse();
        let channel = self.history.name();
        tracing::debug!(channel, read, filled = messages.len(), ?lacking, "read a gap's history");
        let gap = lacking.map(|error| Gap { unfilled: Some(error.into_info()), ..gap });
        Missed { messages, gap }
    }

    /// Reads from the end of the gap back to its beginning, which shows in a message from before. Returns why a message
    /// in between cannot be read, if there is one.
    async fn read_back(
        &self,
        gap: &Gap,
        page: u32,
        messages: &mut Vec<Message>,
    ) -> Result<Option<Error>> {
        let until = gap.until.as_ref().ok_or_else(unknown_end)?;
        let before = match &gap.after {
            Some(after) => self.newest_at(after).await?,
            None => None,
        };
        let first = self
            .history
            .history()
            .direction(Direction::Backwards)
            .param("fromSerial", until)
            .limit(page)
            .await?;
        let mut pages = pin!(first.pages());
        let mut unreadable = None;
        while let Some(page) = pages.try_next().await? {
            for message in page.into_results() {
                let message = match message {
                    Ok(message) => message,
                    Err(error) => {
                        unreadable = unreadable.or(Some(error));
                        continue;
                    }
                };
                let is_before =
                    before.as_ref().is_some_and(|before| is_not_after(&message, before));
                if is_before || key(&message).is_some_and(|key| self.known.contains(&**key)) {
                    return Ok(unreadable);
                }
                if messages.len() == self.limit {
                    return Err(too_many(self.limit));
                }
                messages.push(message);
            }
        }
        Err(out_of_reach())
    }

    /// The newest message that is not after this channel serial.
    async fn newest_at(&self, serial: &Str) -> Result<Option<Message>> {
        let history = self.history.history().direction(Direction::Backwards);
        let page = history.param("fromSerial", serial).limit(1).await?;
        Ok(page.into_items().into_iter().next())
    }

    fn is_own(&self, message: &Message) -> bool {
        match (&self.own, &message.connection_id) {
            (Some(shared), Some(id)) => shared.is_own_connection(id),
            _ => false,
        }
    }
}

/// Whether a message is the other one, or comes before it in the channel's order.
fn is_not_after(message: &Message, other: &Message) -> bool {
    match (&message.serial, &other.serial) {
        (Some(serial), Some(other)) => serial <= other,
        _ => key(message).is_some() && key(message) == key(other),
    }
}

/// What tells a message from others, in whichever version it comes.
fn key(message: &Message) -> Option<&Str> {
    message.serial.as_ref().or(message.id.as_ref())
}

/// The keys of the messages handed out last.
#[derive(Default)]
struct Recent {
    order: VecDeque<Str>,
    keys: HashSet<Str>,
}

impl Recent {
    /// Remembers a message. Returns whether it is new.
    fn remember(&mut self, message: &Message) -> bool {
        // One that nothing tells from others counts as new.
        let Some(key) = key(message) else { return true };
        // What is remembered must not keep the frame that it came in.
        let key = Str::from(&**key);
        if !self.keys.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }
}

fn unknown_end() -> Error {
    let message = "the service did not say where the channel was attached again";
    Error::new(ErrorCode::ATTACH_POINT_NOT_FOUND, 0, message)
}

fn out_of_reach() -> Error {
    let message = "the history does not reach back to what was received before the gap";
    Error::new(ErrorCode::CHANNEL_CONTINUITY_NOT_GUARANTEED, 0, message)
}

fn too_many(limit: usize) -> Error {
    let message = format!("more than {limit} messages were published meanwhile");
    Error::new(ErrorCode::CHANNEL_BACKLOG_TOO_LARGE, 0, message)
}
