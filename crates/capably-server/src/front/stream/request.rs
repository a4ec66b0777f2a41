//! The request for an event stream: its query and its headers.

use capably_protocol::{ChannelMode, ErrorInfo, Flags, Str, frame::Attach};
use hyper::{HeaderMap, header};

use super::{
    event_id::{LastEvent, Place},
    framing::Framing,
};
use crate::{
    front::{credentials, http::query::Query},
    hub::{auth::Credentials, error, params_of},
};

/// Most channels of a stream. Each event's id has 19 characters for each of them, and a client sends that as a header.
const MAX_CHANNELS: usize = 200;

/// The parameters of channels that the query may set for all of them.
const CHANNEL_PARAMS: [&str; 4] = ["rewind", "delta", "occupancy", "appendMode"];

/// A request for an event stream. It has secrets, so it has no `Debug`.
pub(in crate::front) struct StreamRequest {
    pub(super) credentials: Credentials,
    pub(super) client_id: Option<Str>,
    pub(super) channels: Vec<StreamChannel>,
    pub(super) framing: Framing,
}

/// A channel of a stream.
pub(super) struct StreamChannel {
    pub(super) attach: Attach,
    /// The place from which the reader goes on.
    pub(super) place: Option<Place>,
}

impl StreamRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// Code 40003 for a parameter, 40010 for a channel's name, 40101 when there are no credentials, 40012 for the client id.
    pub(in crate::front) fn read(
        headers: &HeaderMap,
        path: &str,
        query: &Query,
    ) -> Result<Self, ErrorInfo> {
        // The credentials first: without them, the caller learns nothing else.
        let credentials =
            credentials::in_request(headers, query)?.ok_or_else(credentials::missing)?;
        let client_id = match query.get("clientId") {
            Some(id) => Some(Str::from(id)),
            None => credentials::client_id_in_header(headers)?,
        };
        check_version(query.get("v"))?;
        Ok(Self {
            credentials,
            client_id,
            channels: channels(query, last_event(headers, query))?,
            framing: Framing {
                as_events: path == "/sse" || accepts_events(headers),
                enveloped: flag(query, "enveloped", true)?,
                heartbeats: flag(query, "heartbeats", false)?,
            },
        })
    }
}

/// The id of the last event that the client has received. A header comes from a client that connects again by itself: it is
/// newer than the URL.
fn last_event<'a>(headers: &'a HeaderMap, query: &'a Query) -> Option<&'a str> {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let id = header.or_else(|| query.get("lastEvent")).or_else(|| query.get("lastEventId"));
    id.filter(|id| !id.is_empty())
}

fn channels(query: &Query, last_event: Option<&str>) -> Result<Vec<StreamChannel>, ErrorInfo> {
    let names = query.get("channels").or_else(|| query.get("channel")).unwrap_or_default();
    if names.is_empty() {
        return Err(error::bad_parameter("the parameter `channels` names no channel"));
    }
    let separator = query.get("separator").unwrap_or(",");
    if separator.is_empty() {
        return Err(error::bad_parameter("the parameter `separator` is empty"));
    }
    let last = last_event.map(LastEvent::parse);
    let mut channels: Vec<StreamChannel> = Vec::new();
    for name in names.split(separator) {
        if channels.iter().any(|known| *known.attach.channel == *name) {
            continue;
        }
        if channels.len() == MAX_CHANNELS {
            return Err(error::bad_parameter(format!(
                "a stream has at most {MAX_CHANNELS} channels; open another for the rest"
            )));
        }
        let own = params_of(name)?;
        let for_all = query
            .iter()
            .filter(|(name, _)| CHANNEL_PARAMS.contains(name) && !own.contains_key(*name));
        let params = for_all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let place = last.as_ref().and_then(|last| last.as_ref()?.place(name));
        let channel_serial = match (&last, place) {
            (_, Some(place)) => Some(place.start().channel_serial()),
            // No serial of the service: the client learns that it may have missed messages.
            (Some(None), None) => Some(Str::from_static("unknown")),
            // The reader did not have the channel before.
            (Some(Some(_)) | None, None) => None,
        };
        let flags = [ChannelMode::Subscribe, ChannelMode::PresenceSubscribe];
        let flags = flags.into_iter().collect::<Flags>();
        let attach = Attach { channel: Str::from(name), channel_serial, flags, params };
        channels.push(StreamChannel { attach, place });
    }
    Ok(channels)
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = values.flat_map(|value| value.split(','));
    types.any(|it| it.split(';').next().unwrap_or(it).trim() == "text/event-stream")
}

fn check_version(version: Option<&str>) -> Result<(), ErrorInfo> {
    match version.map(str::parse::<f64>) {
        None => Ok(()),
        Some(Ok(version)) if version >= 1.0 => Ok(()),
        Some(_) => Err(error::bad_version()),
    }
}

fn flag(query: &Query, name: &str, usual: bool) -> Result<bool, ErrorInfo> {
    match query.get(name) {
        None => Ok(usual),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(error::bad_parameter(format!("`{name}` is neither `true` nor `false`"))),
    }
}
