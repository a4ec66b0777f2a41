//! `GET channels`: the channels of the app, with their rates and occupancy.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use capably_protocol::{ErrorInfo, Operation, Str};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{
    api::{Call, reply},
    rates::{Samples, per_second},
};
use crate::{
    front::http::reply::Reply,
    hub::{Occupancy, error, inspect::ChannelBrief},
};

/// The most channels that are looked at under one lock of the app.
const STEP: usize = 1000;

/// The most channels whose occupancy is read under one lock.
const OCCUPANCY_STEP: usize = 100;

const USUAL_LIMIT: usize = 200;
const MAX_LIMIT: usize = 1000;

/// The samples of the counters of all channels, by app.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<HashMap<String, Samples<Arc<Counters>>>>);

/// The messages published and delivered so far, by channel.
type Counters = HashMap<Str, (u64, u64)>;

/// The order of the channels.
enum Sort {
    Name,
    Rate,
    Connections,
}

/// A channel with its rates: messages a second in, and out.
struct Row {
    name: Str,
    rates: (f64, f64),
    attachments: u32,
}

pub(super) fn list(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    call.session.require_anywhere(&Operation::ChannelMetadata)?;
    let sort = match call.query.get("sort") {
        None | Some("name") => Sort::Name,
        Some("rate") => Sort::Rate,
        Some("connections") => Sort::Connections,
        Some(_) => {
            return Err(error::bad_parameter("`sort` must be `name`, `rate` or `connections`"));
        }
    };
    let limit = call.limit(USUAL_LIMIT, MAX_LIMIT)?;
    let mut rows = rows(call);
    let prefix = call.query.get("prefix").unwrap_or_default();
    let capability = &call.session.capability;
    rows.retain(|row| {
        row.name.starts_with(prefix) && capability.allows(&row.name, &Operation::ChannelMetadata)
    });
    let total = rows.len();
    rows.sort_unstable_by(|a, b| {
        let order = match sort {
            Sort::Name => std::cmp::Ordering::Equal,
            Sort::Rate => (b.rates.0 + b.rates.1).total_cmp(&(a.rates.0 + a.rates.1)),
            Sort::Connections => b.attachments.cmp(&a.attachments),
        };
        order.then_with(|| a.name.cmp(&b.name))
    });
    rows.truncate(limit);
    let mut channels = Vec::with_capacity(rows.len());
    for rows in rows.chunks(OCCUPANCY_STEP) {
        let names: Vec<Str> = rows.iter().map(|row| row.name.clone()).collect();
        let occupancies = call.app.with(|hub, _| hub.occupancies(&names));
        channels.extend(rows.iter().zip(occupancies).map(|(row, it)| details(row, &it)));
    }
    Ok(reply(StatusCode::OK, &json!({ "channels": channels, "total": total })))
}

fn details(row: &Row, occupancy: &Occupancy) -> Value {
    json!({
        "name": &*row.name,
        "rate": { "in": row.rates.0, "out": row.rates.1 },
        "occupancy": BTreeMap::from(occupancy.metrics()),
        "attachments": row.attachments,
    })
}

/// All channels of the app, in no order.
fn rows(call: &Call<'_>) -> Vec<Row> {
    let briefs = briefs(call);
    let counters: Counters =
        briefs.iter().map(|it| (it.name.clone(), (it.published, it.delivered))).collect();
    let counters = Arc::new(counters);
    let compared = {
        let mut watch = call.console.channels.0.lock().unwrap_or_else(PoisonError::into_inner);
        watch.retain(|app, _| call.shared.app(app).is_some());
        let samples = watch.entry(call.session.app.clone()).or_default();
        samples.compare(&counters, call.now.steady)
    };
    let rates = |brief: &ChannelBrief| {
        let Some((before, seconds)) = &compared else { return (0.0, 0.0) };
        // A channel that was not there before has begun at zero.
        let (published, delivered) = before.get(&brief.name).copied().unwrap_or_default();
        (
            per_second(published, brief.published, *seconds),
            per_second(delivered, brief.delivered, *seconds),
        )
    };
    let mut rows: Vec<Row> = briefs
        .iter()
        .map(|it| Row { name: it.name.clone(), rates: rates(it), attachments: it.attachments })
        .collect();
    let mut last = None;
    loop {
        let (names, next) =
            call.app.with(|hub, _| hub.channel_names_elsewhere(last.as_ref(), STEP));
        let elsewhere = names.into_iter().filter(|name| !counters.contains_key(name));
        rows.extend(elsewhere.map(|name| Row { name, rates: (0.0, 0.0), attachments: 0 }));
        if next.is_none() {
            return rows;
        }
        last = next;
    }
}

/// The channels in memory. Channels that come or go meanwhile may be missing.
fn briefs(call: &Call<'_>) -> Vec<ChannelBrief> {
    let mut briefs: Vec<ChannelBrief> = Vec::new();
    let mut from = 0;
    loop {
        let step = call.app.with(|hub, _| hub.channel_briefs(from, STEP));
        from += step.len();
        let is_last = step.len() < STEP;
        briefs.extend(step);
        if is_last {
            break;
        }
    }
    let mut seen = HashSet::new();
    briefs.retain(|brief| seen.insert(brief.name.clone()));
    briefs
}
