//! Finding out whether the service has accepted a publish that it may no longer recognise by its ids.

use std::{collections::BTreeMap, pin::pin};

use capably_protocol::{Millis, Str};
use futures_util::StreamExt;

use crate::{
    Rest, Result,
    auth::Clock,
    rest::{ChannelOptions, Direction, RestChannel},
};

/// How long a publish may be sent again without a question: the service recognises ids for two minutes. The difference
/// is for the way to the service.
pub(super) const RECOGNISED: Millis = 110_000;

/// What the clocks of client and service may differ after they were compared.
const SLACK: Millis = 60_000;

/// The most messages of history that are read for one question.
const MAX_MESSAGES: usize = 100_000;

/// A publish to ask for.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) seq: u64,
    pub(super) ids: Vec<Str>,
    pub(super) first_sent: Millis,
}

/// What history says about a publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is there, with these serials.
    Published(Vec<Option<Str>>),
    /// It is certainly not there.
    Absent,
    /// It was not found, but history does not prove that it is absent.
    Unsure,
}

/// Asks for publishes of a channel. History proves the absence of a publish only if it reaches back to a message from
/// before it: the service keeps history for a limited time, which clients do not know.
///
/// # Errors
/// When history cannot be read.
pub(super) async fn look_up(
    rest: &Rest,
    clock: &Clock,
    channel: &Str,
    doubts: &[Doubt],
) -> Result<Vec<(u64, Verdict)>> {
    let now = clock.now();
    let ahead = rest.time().await? - now;
    let first = doubts.iter().map(|doubt| doubt.first_sent).min().unwrap_or_default();
    // A time in the future is of a clock that was set back since. Then all of history is searched, and proves nothing.
    let has_time = doubts.iter().all(|doubt| doubt.first_sent <= now);
    let start = if has_time { first.saturating_add(ahead).saturating_sub(SLACK).max(0) } else { 0 };
    let channel = rest.channels().detached(channel.clone(), ChannelOptions::default());
    let mut wanted: BTreeMap<&Str, Option<Option<Str>>> =
        doubts.iter().flat_map(|doubt| &doubt.ids).map(|id| (id, None)).collect();
    let complete = search(&channel, start, &mut wanted).await?;
    let all_found = wanted.values().all(Option::is_some);
    let proves = complete && has_time && (all_found || reaches_back(&channel, start).await?);
    let verdict = |doubt: &Doubt| {
        let found = doubt.ids.iter().map(|id| wanted.get(id).cloned().flatten());
        // The service accepts all messages of a publish or none.
        let serials: Vec<_> = found.clone().map(Option::unwrap_or_default).collect();
        if found.into_iter().any(|found| found.is_some()) {
            Verdict::Published(serials)
        } else if proves {
            Verdict::Absent
        } else {
            Verdict::Unsure
        }
    };
    Ok(doubts.iter().map(|doubt| (doubt.seq, verdict(doubt))).collect())
}

/// Looks for messages from a time on. Returns whether all of them were seen.
async fn search(
    channel: &RestChannel,
    start: Millis,
    wanted: &mut BTreeMap<&Str, Option<Option<Str>>>,
) -> Result<bool> {
    let page = channel.history().start(start).direction(Direction::Forwards).limit(1000).await?;
    let mut messages = pin!(page.items_stream());
    let (mut seen, mut missing) = (0, wanted.len());
    while missing > 0 {
        let Some(message) = messages.next().await else { break };
        let message = message?;
        if let Some(found) = message.id.as_ref().and_then(|id| wanted.get_mut(id))
            && found.is_none()
        {
            *found = Some(message.serial);
            missing -= 1;
        }
        seen += 1;
        if seen == MAX_MESSAGES {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn reaches_back(channel: &RestChannel, start: Millis) -> Result<bool> {
    Ok(!channel.history().end(start).limit(1).await?.items().is_empty())
}
