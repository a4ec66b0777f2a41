//! Views: a channel under a name with a qualifier, which adds parameters or a filter.

use std::sync::Arc;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use capably_protocol::{ErrorInfo, ServerFrame, Str, frame::Delivery, frame::Params};
use percent_encoding::percent_decode_str;

use super::{Channel, Subscriber, filter::Filter};
use crate::hub::{
    channel_name::{FILTER, METACHANNEL, Qualified, split},
    error,
    log::{Entry, position::Position},
    message::change::rewound,
    metachannel::{META, is_metachannel},
};

/// The channel, the parameters and the filter that a name with a qualifier denotes.
#[derive(Debug)]
pub(crate) struct View {
    /// The whole name, as frames carry it.
    pub(super) name: Str,
    /// The name of the channel itself.
    pub(crate) base: Str,
    /// The resource that a capability must allow.
    pub(super) resource: Str,
    /// Selects the visible messages. Without a filter, everything is visible.
    pub(super) filter: Option<Filter>,
    pub(super) params: Params,
}

impl View {
    /// The view that a name with a qualifier denotes. `None` for the name of a channel.
    ///
    /// # Errors
    /// Code 40010 for an invalid name, 40021 for a metachannel that the server does not have.
    pub(crate) fn parse(name: &str) -> Result<Option<Self>, ErrorInfo> {
        let Some(Qualified { qualifier, params, name: base }) = split(name)? else {
            return Ok(None);
        };
        let filter = qualifier.strip_prefix(FILTER).map(read_filter).transpose()?;
        let base = match qualifier {
            METACHANNEL => format!("{META}{base}").into(),
            _ => Str::from(base),
        };
        let resource = match filter {
            Some(_) => format!("[{qualifier}]{base}").into(),
            None => base.clone(),
        };
        let params = read_params(params)?;
        Ok(Some(Self { name: name.into(), base, resource, filter, params }))
    }

    /// Whether clients can do more than receive messages: enter and see members, publish, annotate.
    pub(super) fn is_whole(&self) -> bool {
        self.filter.is_none() && !is_metachannel(&self.base)
    }

    /// The visible part of the entry, or `None` if nothing of it is visible.
    pub(super) fn of(&self, entry: &Entry) -> Option<Arc<Entry>> {
        let (position, at, name) = (entry.position(), entry.at(), self.name.clone());
        match entry.frame() {
            ServerFrame::Message(delivery) => {
                let Some(filter) = &self.filter else {
                    let delivery = Delivery { channel: name, ..delivery.clone() };
                    return Some(Entry::new(position, at, delivery));
                };
                let seen = |index: &usize| filter.matches(&delivery.items[*index]);
                let seen: Vec<usize> = (0..delivery.items.len()).filter(seen).collect();
                if seen.is_empty() {
                    return None;
                }
                // A message inherits fields such as its id from its index in the frame, which differs in the new frame:
                // `message` fills them in first.
                let items = seen.iter().filter_map(|index| entry.message(*index)).collect();
                Some(Entry::new(position, at, Delivery { channel: name, items, ..head(delivery) }))
            }
            _ if self.filter.is_some() => None,
            ServerFrame::Annotation(delivery) => {
                let delivery = Delivery { channel: name, ..delivery.clone() };
                Some(Entry::annotations(position, at, delivery))
            }
            ServerFrame::Presence(delivery) => {
                let delivery = Delivery { channel: name, ..delivery.clone() };
                Some(Entry::presence(position, at, delivery))
            }
            ServerFrame::Object(delivery) => {
                let delivery = Delivery { channel: name, ..delivery.clone() };
                Some(Entry::objects(position, at, delivery))
            }
            _ => None,
        }
    }

    /// Whether any part of the entry is visible in a replay.
    pub(super) fn shows(&self, channel: &Channel, to: &Subscriber, entry: &Arc<Entry>) -> bool {
        let Some(filter) = &self.filter else { return true };
        let entry = to.replayed(&channel.changes, entry);
        entry.items().iter().any(|message| filter.matches(message))
    }

    /// The position before the newest `count` visible messages.
    pub(super) fn rewind_count(&self, channel: &Channel, count: usize) -> Position {
        let log = &channel.log;
        let Some(filter) = &self.filter else { return log.rewind_count(count) };
        let mut messages = 0;
        for entry in log.iter().rev() {
            if messages >= count {
                return entry.position();
            }
            if entry.is_creation() {
                let latest = rewound(&channel.changes, entry, log.last());
                messages += latest.items().iter().filter(|message| filter.matches(message)).count();
            }
        }
        log.floor()
    }
}

/// The parameters that a name sets in its qualifier. Checks the name.
///
/// # Errors
/// Code 40010 for an invalid name, 40021 for a metachannel that the server does not have.
pub(crate) fn params_of(name: &str) -> Result<Params, ErrorInfo> {
    Ok(View::parse(name)?.map_or_else(Params::new, |view| view.params))
}

/// A copy of the frame without its channel and its items.
fn head<T>(delivery: &Delivery<T>) -> Delivery<T> {
    Delivery {
        channel: Str::new(),
        channel_serial: delivery.channel_serial.clone(),
        id: delivery.id.clone(),
        connection_id: delivery.connection_id.clone(),
        timestamp: delivery.timestamp,
        flags: delivery.flags,
        items: Vec::new(),
    }
}

fn read_filter(encoded: &str) -> Result<Filter, ErrorInfo> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let expression = GeneralPurpose::new(&STANDARD, config).decode(encoded);
    let expression = expression.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let expression = expression
        .ok_or_else(|| error::bad_channel_name("its filter is not base64 of an expression"))?;
    Filter::new(&expression).map_err(|problem| {
        error::bad_channel_name(&format!(
            "its filter is no JMESPath expression to filter by: {problem}"
        ))
    })
}

fn read_params(query: &str) -> Result<Params, ErrorInfo> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().map(String::from)
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    });
    pairs
        .collect::<Result<_, std::str::Utf8Error>>()
        .map_err(|_| error::bad_channel_name("its parameters are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::channel_name::plain;

    #[test]
    fn invalid_names_are_refused() {
        for name in ["", ":hell", "::", ",a", " a", "\ta", "a\nb"] {
            assert_eq!(plain(name).unwrap_err().code.0, 40010, "{name:?}");
            assert_eq!(View::parse(name).unwrap_err().code.0, 40010, "{name:?}");
        }
        for (name, code) in [
            ("[foo]bar", 40010),
            ("[meta", 40010),
            ("[meta]", 40010),
            ("[]a", 40010),
            ("[?rewind=1]:a", 40010),
            ("[?rewind=1][?rewind=1]a", 40010),
            ("[meta]a", 40021),
            ("[meta?rewind=1]a", 40021),
        ] {
            assert_eq!(plain(name).unwrap_err().code.0, code, "{name:?}");
            assert_eq!(View::parse(name).unwrap_err().code.0, code, "{name:?}");
        }
        for name in ["[filter=]a", "[filter=%]a", "[filter=/w==]a", "[filter=KA==]a", "[?a=%FF]a"] {
            assert_eq!(View::parse(name).unwrap_err().code.0, 40010, "{name:?}");
        }
        assert_eq!(plain("[filter=bmFtZQ==]a").unwrap_err().code.0, 40000);
        assert_eq!(plain("[meta]log").unwrap_err().code.0, 40160);
        assert_eq!(plain("[meta?rewind=1]log").unwrap_err().code.0, 40160);
    }

    #[test]
    fn valid_names_are_accepted() {
        for name in ["a", "a:b", "a/b?c#d%e", "ünï çødé 🚀", "a]b", "a,b", "a["] {
            assert_eq!(plain(name), Ok(name));
            assert!(View::parse(name).unwrap().is_none(), "{name:?}");
        }
        assert_eq!(plain("[?rewind=1]a]b"), Ok("a]b"));
    }

    #[test]
    fn a_metachannel_is_a_channel_with_its_qualifier() {
        for name in ["[meta]stats:minute", "[meta?rewind=1]stats:minute"] {
            let view = View::parse(name).unwrap().unwrap();
            assert_eq!((&*view.name, &*view.base), (name, "[meta]stats:minute"));
            assert_eq!(view.resource, view.base);
            assert_eq!(view.params.len(), usize::from(name.contains('?')));
            assert!(!view.is_whole());
        }
    }

    #[test]
    fn a_qualifier_is_split_into_its_parts() {
        let plain = View::parse("[?rewind=15s&a%20b=c+d&flag]ns:a").unwrap().unwrap();
        assert_eq!((&*plain.base, &*plain.resource), ("ns:a", "ns:a"));
        assert!(plain.filter.is_none());
        let params = [("a b", "c d"), ("flag", ""), ("rewind", "15s")];
        let params = params.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(plain.params, Params::from(params));
        // The padding of base64 is optional.
        for name in ["[filter=bmFtZQ==?rewind=1]a", "[filter=bmFtZQ?rewind=1]a"] {
            let filtered = View::parse(name).unwrap().unwrap();
            assert_eq!((&*filtered.name, &*filtered.base), (name, "a"));
            assert_eq!(*filtered.resource, *name.replace("?rewind=1", ""));
            assert!(filtered.filter.is_some());
            assert_eq!(filtered.params["rewind"], "1");
        }
    }
}
