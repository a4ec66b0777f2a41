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

use super::{Gap, Selection, SubscriptionEvent, selection::MessageSelection};
use crate::{
    Error, Result,
    http::BoxFuture,
    realtime::{Channel, driver::SharedState},
    rest::{Direction, RestChannel},
};

/// The default number of messages to read for one gap.
pub(super) const DEFAULT_LIMIT: usize = 10_000;

/// The largest page of history that the service allows, in messages.
const PAGE: usize = 1000;

/// How many of the latest messages are remembered, to recognise duplicates.
const REMEMBERED: usize = 1024;

/// Fills the gaps of one subscription.
pub(super) struct GapFiller {
    selection: MessageSelection,
    limit: usize,
    /// The messages that the subscription has yielded.
    yielded: RecentKeys,
    state: FillState,
}

enum FillState {
    Idle,
    /// The mutex makes the future `Sync`, so that a subscription is; it is never contended.
    Reading(Mutex<BoxFuture<'static, Backfill>>),
    Yielding(vec::IntoIter<Message>),
}

/// The messages that were read for a gap, the oldest first.
struct Backfill {
    messages: Vec<Message>,
    /// The gap, if messages are missing or may be.
    gap: Option<Gap>,
}

impl GapFiller {
    pub(super) fn new(selection: MessageSelection, limit: usize) -> Self {
        Self { selection, limit, yielded: RecentKeys::default(), state: FillState::Idle }
    }

    /// Starts to fill a gap; [`poll_filled`](Self::poll_filled) yields its messages.
    pub(super) fn start(&mut self, gap: Gap, channel: &Channel) {
        let history = channel.rest_channel();
        let echo = history.pipeline().config().options.echo_messages;
        let reader = GapReader {
            known: self.yielded.keys.clone(),
            selection: self.selection.clone(),
            limit: self.limit,
            // Live messages without echo omit the client's own, so filled ones must, too.
            own: (!echo).then(|| Arc::clone(&channel.handle.shared)),
            history,
        };
        self.state = FillState::Reading(Mutex::new(Box::pin(reader.read(gap))));
    }

    /// Whether the subscription has already yielded a message that arrived, as part of a gap or before one.
    pub(super) fn is_duplicate(&mut self, message: &Message) -> bool {
        // An update or a delete has the serial of a message that was yielded before; it is no duplicate.
        matches!(message.action, None | Some(MessageAction::Create))
            && !self.yielded.remember(message)
    }

    /// The messages of the current gap, one by one; `None` when no gap is left to fill.
    pub(super) fn poll_filled(&mut self, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        loop {
            match &mut self.state {
                FillState::Idle => return Poll::Ready(None),
                FillState::Reading(reading) => {
                    let reading = reading.get_mut().unwrap_or_else(PoisonError::into_inner);
                    let Backfill { messages, gap } = ready!(reading.as_mut().poll(cx));
                    self.state = FillState::Yielding(messages.into_iter());
                    if let Some(gap) = gap {
                        // Before the messages: their reader must know that some are missing.
                        return Poll::Ready(Some(SubscriptionEvent::Gap(gap)));
                    }
                }
                FillState::Yielding(messages) => match messages.next() {
                    Some(message) => {
                        self.yielded.remember(&message);
                        return Poll::Ready(Some(SubscriptionEvent::Filled(message)));
                    }
                    None => self.state = FillState::Idle,
                },
            }
        }
    }
}

/// Reads the messages of one gap from history.
struct GapReader {
    history: RestChannel,
    /// The keys of messages that were yielded before the gap.
    known: HashSet<Str>,
    selection: MessageSelection,
    limit: usize,
    /// Recognises the client's own messages, if the client does not want their echo.
    own: Option<Arc<SharedState>>,
}

impl GapReader {
    async fn read(self, gap: Gap) -> Backfill {
        let mut messages = Vec::new();
        // One more than the limit shows whether the gap has more messages than may be filled.
        let mut page = (self.limit.saturating_add(1)).min(PAGE) as u32;
        let lacking = loop {
            match self.read_back(&gap, page, &mut messages).await {
                // A page of large messages can exceed the limit for responses; a smaller page fits.
                Err(error) if error.code() == ErrorCode::INVALID_DATA_OR_ENCODING && page > 1 => {
                    page /= 2;
                    // Start over: a page of another size has other bounds, so a half-read list could repeat messages.
                    messages.clear();
                }
                Err(error) => break Some(error),
                Ok(unreadable) => break unreadable,
            }
        };
        let read = messages.len();
        messages.retain(|message| self.selection.includes(message) && !self.is_own(message));
        // History was read backwards.
        messages.reverse();
        let channel = self.history.name();
        tracing::debug!(channel, read, filled = messages.len(), ?lacking, "read a gap's history");
        let gap = lacking.map(|error| Gap { unfilled: Some(error.into_info()), ..gap });
        Backfill { messages, gap }
    }

    /// Reads backwards from the end of the gap to its start. A message from before the gap shows that the start is
    /// reached. Returns the error of a message in between that cannot be read, if there is one.
    async fn read_back(
        &self,
        gap: &Gap,
        page: u32,
        messages: &mut Vec<Message>,
    ) -> Result<Option<Error>> {
        let until = gap.until.as_ref().ok_or_else(unknown_end)?;
        // Read apart: the frame at the start of the gap may not have been a message of this subscription.
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
                let at_start = before.as_ref().is_some_and(|before| is_not_after(&message, before));
                if at_start || key(&message).is_some_and(|key| self.known.contains(&**key)) {
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

    /// The newest message at or before this channel serial.
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

/// Whether a message is the other message, or stands before it on the channel.
fn is_not_after(message: &Message, other: &Message) -> bool {
    match (&message.serial, &other.serial) {
        (Some(serial), Some(other)) => serial <= other,
        _ => key(message).is_some() && key(message) == key(other),
    }
}

/// The key that identifies a message in all its versions.
fn key(message: &Message) -> Option<&Str> {
    message.serial.as_ref().or(message.id.as_ref())
}

/// The keys of the latest messages.
#[derive(Default)]
struct RecentKeys {
    order: VecDeque<Str>,
    keys: HashSet<Str>,
}

impl RecentKeys {
    /// Remembers a message. Returns whether it is new.
    fn remember(&mut self, message: &Message) -> bool {
        // A message without a key cannot be recognised again.
        let Some(key) = key(message) else { return true };
        // The key may be a slice of a whole frame; the copy does not keep that in memory.
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
    let message = "the service did not send the serial at which the channel was attached again";
    Error::new(ErrorCode::ATTACH_POINT_NOT_FOUND, 0, message)
}

fn out_of_reach() -> Error {
    let message = "history does not reach back to the last message before the gap";
    Error::new(ErrorCode::CHANNEL_CONTINUITY_NOT_GUARANTEED, 0, message)
}

fn too_many(limit: usize) -> Error {
    let message = format!("more than {limit} messages were published during the gap");
    Error::new(ErrorCode::CHANNEL_BACKLOG_TOO_LARGE, 0, message)
}
