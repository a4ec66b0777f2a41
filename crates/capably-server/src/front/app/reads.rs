//! Reading a channel: history, versions, annotations and presence events.
//!
//! Without an engine, the hub has everything in memory. With one, pages are read from it, and the lock of the app is not held
//! meanwhile.

use capably_protocol::{Annotation, ErrorInfo, Message, PresenceMessage, Str};

use super::{
    AppHandle,
    fetch::{LAST, PAGE, PAGE_BYTES, failed},
    log::Log,
};
use crate::{
    engine::{self, Kind, Range},
    hub::{
        Direction, Excerpt, HistoryQuery, MembersQuery, Need, Now, Page, PageQuery, Position,
        annotated_name, auth::Identity, error, history_view, readable_name,
    },
};

impl AppHandle {
    /// A page of a channel's history (RSL2).
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 40003 for an invalid serial; 50003 and 50000 for the engine.
    pub(in crate::front) async fn history(
        &self,
        identity: &Identity,
        channel: &str,
        query: &HistoryQuery,
        now: Now,
    ) -> Result<Page<Message>, ErrorInfo> {
        let Some(log) = &self.log else {
            return self.with(|hub, _| hub.history(identity, channel, query, now));
        };
        let view = history_view(identity, channel)?;
        let view = view.as_ref();
        let name = Str::from(view.map_or(channel, |view| &view.base));
        let until = query.until()?;
        let mut entries = Entries::of(self, log, &name, Kind::Messages, &query.page).await?;
        entries.range.until = entries.range.until.min(until);
        let mut found = Page::default();
        loop {
            let missing = query.page.limit - found.items.len();
            // One more than the page has, to see whether there is another page.
            let (batch, floor) = entries.next(missing + 1).await?;
            let is_end = batch.is_empty();
            let excerpt = self.excerpt(log, &name, batch, floor, Some(LAST)).await?;
            let page = PageQuery { limit: missing.max(1), ..query.page.clone() };
            let page = excerpt.history(view, &HistoryQuery { page, ..query.clone() })?;
            let is_full = missing == 0 && !page.items.is_empty();
            if missing > 0 {
                found.items.extend(page.items);
            }
            if is_full || page.next.is_some() {
                found.next = found.items.last().and_then(|message| message.serial.clone());
                return Ok(found);
            }
            if is_end {
                return Ok(found);
            }
        }
    }

    /// The latest version of a message (RSL11).
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 40400 for an unknown message; 50003 and 50000 for the engine.
    pub(in crate::front) async fn message(
        &self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        now: Now,
    ) -> Result<Message, ErrorInfo> {
        let Some(log) = &self.log else {
            return self.with(|hub, _| hub.message(identity, channel, serial, now));
        };
        let excerpt = self.excerpt_of(log, readable_name(identity, channel)?, serial).await?;
        excerpt.message(serial).ok_or_else(error::unknown_message)
    }

    /// A page of a channel's members (RSP3).
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability; 50003 and 50000 for the engine.
    pub(in crate::front) async fn members(
        &self,
        identity: &Identity,
        channel: &str,
        query: &MembersQuery,
    ) -> Result<Page<PresenceMessage>, ErrorInfo> {
        let (found, is_complete) = self.with(|hub, _| {
            let is_complete = !hub.is_node() || hub.has_channel(channel);
            (hub.members(identity, channel, query), is_complete)
        });
        if is_complete || found.is_err() {
            return found;
        }
        // In a cluster, members of the other nodes are known once the channel is in memory.
        self.fetch(Need::Channel(Str::from(channel)), None).await?;
        self.with(|hub, _| hub.members(identity, channel, query))
    }

    /// A page of the versions of a message (RSL14).
    ///
    /// # Errors
    /// As [`message`](Self::message).
    pub(in crate::front) async fn versions(
        &self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        query: &PageQuery,
        now: Now,
    ) -> Result<Page<Message>, ErrorInfo> {
        let Some(log) = &self.log else {
            return self.with(|hub, _| hub.versions(identity, channel, serial, query, now));
        };
        let excerpt = self.excerpt_of(log, readable_name(identity, channel)?, serial).await?;
        excerpt.versions(serial, query).ok_or_else(error::unknown_message)
    }

    /// A page of the annotations of a message (RSAN3).
    ///
    /// # Errors
    /// As [`message`](Self::message).
    pub(in crate::front) async fn annotations(
        &self,
        identity: &Identity,
        channel: &str,
        serial: &str,
        query: &PageQuery,
        now: Now,
    ) -> Result<Page<Annotation>, ErrorInfo> {
        let Some(log) = &self.log else {
            return self.with(|hub, _| hub.annotations(identity, channel, serial, query, now));
        };
        let excerpt = self.excerpt_of(log, annotated_name(identity, channel)?, serial).await?;
        excerpt.annotations(serial, query)
    }

    /// A page of a channel's presence events (RSP4).
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability; 50003 and 50000 for the engine.
    pub(in crate::front) async fn presence_history(
        &self,
        identity: &Identity,
        channel: &str,
        query: &PageQuery,
    ) -> Result<Page<PresenceMessage>, ErrorInfo> {
        let Some(log) = &self.log else {
            return self.with(|hub, _| hub.presence_history(identity, channel, query));
        };
        let name = Str::from(readable_name(identity, channel)?);
        let mut entries = Entries::of(self, log, &name, Kind::Presence, query).await?;
        let mut batch = Vec::new();
        let mut floor = entries.range.after;
        loop {
            // The number of items is not that of entries: the first entry may belong to the page before, and some have no
            // items at all. There is enough when the page knows the next one.
            let (more, start) = entries.next(query.limit + 1).await?;
            let is_end = more.is_empty();
            floor = floor.min(start);
            batch.extend(more);
            batch.sort_by_key(|entry: &engine::Entry| entry.position);
            let excerpt = self.excerpt(log, &name, batch.clone(), floor, None).await?;
            let page = self.with(|hub, _| hub.presence_page(&name, &excerpt, query));
            if is_end || page.next.is_some() {
                return Ok(page);
            }
        }
    }

    async fn excerpt_of(
        &self,
        log: &Log,
        channel: &str,
        serial: &str,
    ) -> Result<Excerpt, ErrorInfo> {
        let at = Position::parse_message(serial).ok_or_else(error::unknown_message)?;
        let excerpt = self.message_excerpt(log, &Str::from(channel), at, LAST).await?;
        excerpt.ok_or_else(error::unknown_message)
    }
}

/// The entries that a page may need, read in batches.
struct Entries<'a> {
    log: &'a Log,
    channel: engine::ChannelId,
    range: Range,
}

impl<'a> Entries<'a> {
    async fn of(
        app: &AppHandle,
        log: &'a Log,
        name: &Str,
        kind: Kind,
        query: &PageQuery,
    ) -> Result<Self, ErrorInfo> {
        let channel = app.channel(name);
        let seek = async |time| log.engine.seek(&channel, time).await.map_err(failed);
        let oldest = app.oldest(name);
        let mut after = seek(query.start.map_or(oldest, |start| start.max(oldest))).await?;
        let mut until = match query.end.and_then(|end| end.checked_add(1)) {
            Some(end) => seek(end).await?,
            None => LAST,
        };
        let cursor = query.cursor.as_deref().and_then(Position::parse_message);
        let direction = match query.direction {
            Direction::Forwards => engine::Direction::Forwards,
            Direction::Backwards => engine::Direction::Backwards,
        };
        // The entry of the cursor may have more items for the next page.
        match (cursor, query.direction) {
            (Some((position, _)), Direction::Forwards) => {
                after = after.max(Position(position.0.saturating_sub(1)));
            }
            (Some((position, _)), Direction::Backwards) => until = until.min(position),
            (None, _) => {}
        }
        let (limit, max_bytes) = (PAGE, PAGE_BYTES);
        let range = Range { after, until, kind: Some(kind), direction, limit, max_bytes };
        Ok(Self { log, channel, range })
    }

    /// The next entries, oldest first, at most about `limit`, and the position that they begin after. None at the end.
    async fn next(&mut self, limit: usize) -> Result<(Vec<engine::Entry>, Position), ErrorInfo> {
        let range = Range { limit: limit.clamp(1, PAGE), ..self.range };
        let mut entries = self.log.engine.read(&self.channel, range).await.map_err(failed)?;
        if let engine::Direction::Backwards = range.direction {
            entries.reverse();
        }
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok((entries, range.after));
        };
        let before = Position(first.position.0 - 1);
        match range.direction {
            engine::Direction::Forwards => self.range.after = last.position,
            engine::Direction::Backwards => self.range.until = before,
        }
        Ok((entries, before))
    }
}
