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

/// The samples of the counters of channels.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    /// Those of all channels, by app.
    apps: HashMap<String, Samples<Arc<HashMap<Str, Counters>>>>,
    /// Those of channels that somebody looks at one by one, by app and name.
    channels: HashMap<(String, Str), Samples<Counters>>,
}

/// The messages published and delivered so far.
type Counters = (u64, u64);

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
    let search = call.query.get("search").unwrap_or_default().to_lowercase();
    let capability = &call.session.capability;
    let mut rows = match call.query.get("name") {
        Some(name) => vec![one(call, name)],
        None => rows(call),
    };
    rows.retain(|row| {
        has(&row.name, &search) && capability.allows(&row.name, &Operation::ChannelMetadata)
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

/// Whether the name has the text, which is in lower case, in it.
fn has(name: &str, search: &str) -> bool {
    search.is_empty() || name.contains(search) || name.to_lowercase().contains(search)
}

/// The channel with this name. It costs the same however many channels there are.
fn one(call: &Call<'_>, name: &str) -> Row {
    let Some(brief) = call.app.with(|hub, _| hub.channel_brief(name)) else {
        return Row { name: name.into(), rates: (0.0, 0.0), attachments: 0 };
    };
    let now = call.now.steady;
    let mut watch = call.console.channels.0.lock().unwrap_or_else(PoisonError::into_inner);
    watch.channels.retain(|_, samples| !samples.is_stale(now));
    let samples = watch.channels.entry((call.session.app.clone(), brief.name.clone())).or_default();
    let compared = samples.compare(&counters(&brief), now);
    row(&brief, compared)
}

fn counters(brief: &ChannelBrief) -> Counters {
    (brief.published, brief.delivered)
}

/// The channel with its rates since an earlier sample, which was taken that many seconds ago.
fn row(brief: &ChannelBrief, since: Option<(Counters, f64)>) -> Row {
    let rates = since.map_or((0.0, 0.0), |((published, delivered), seconds)| {
        (
            per_second(published, brief.published, seconds),
            per_second(delivered, brief.delivered, seconds),
        )
    });
    Row { name: brief.name.clone(), rates, attachments: brief.attachments }
}

/// All channels of the app, in no order.
fn rows(call: &Call<'_>) -> Vec<Row> {
    let briefs = briefs(call);
    let counters: HashMap<Str, Counters> =
        briefs.iter().map(|it| (it.name.clone(), counters(it))).collect();
    let counters = Arc::new(counters);
    let compared = {
        let mut watch = call.console.channels.0.lock().unwrap_or_else(PoisonError::into_inner);
        watch.apps.retain(|app, _| call.shared.app(app).is_some());
        let samples = watch.apps.entry(call.session.app.clone()).or_default();
        samples.compare(&counters, call.now.steady)
    };
    let since = |brief: &ChannelBrief| {
        let (before, seconds) = compared.as_ref()?;
        // A channel that was not there before has begun at zero.
        Some((before.get(&brief.name).copied().unwrap_or_default(), *seconds))
    };
    let mut rows: Vec<Row> = briefs.iter().map(|brief| row(brief, since(brief))).collect();
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
