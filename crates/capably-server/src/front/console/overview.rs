//! `GET overview`: the server and the app of the session, in numbers.

use std::sync::{Mutex, PoisonError};

use capably_protocol::ErrorInfo;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{
    api::{Call, reply},
    rates::{Samples, per_second},
};
use crate::front::http::reply::Reply;

/// The traffic of the server so far: messages and bytes in, messages and bytes out.
type Traffic = [u64; 4];

/// The samples of the server's traffic.
#[derive(Debug, Default)]
pub(super) struct Overview(Mutex<Samples<Traffic>>);

pub(super) fn get(call: &Call<'_>) -> Result<Reply, ErrorInfo> {
    let (connections, channels) =
        call.app.with(|hub, _| (hub.connected_count(), hub.channel_count()));
    let console = call.console;
    let uptime = call.now.steady.saturating_sub(console.started);
    Ok(reply(
        StatusCode::OK,
        &json!({
            "server": {
                "version": env!("CARGO_PKG_VERSION"),
                "uptime": u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
                "engine": console.engine,
            },
            "app": { "id": call.session.app },
            "rates": rates(call),
            "connections": connections,
            "channels": channels,
            "faults": console.faults.is_some(),
            "frames": console.frames.is_on(&call.session.app),
        }),
    ))
}

/// The rates of the whole server. Other apps are the business of its operator only.
fn rates(call: &Call<'_>) -> Value {
    if !call.session.has_server {
        return Value::Null;
    }
    let now = call.shared.operating.metrics.traffic();
    let mut samples = call.console.overview.0.lock().unwrap_or_else(PoisonError::into_inner);
    let compared = samples.compare(&now, call.now.steady);
    let rate = |index: usize| {
        compared.map_or(0.0, |(before, seconds)| per_second(before[index], now[index], seconds))
    };
    json!({ "in": rate(0), "bytesIn": rate(1), "out": rate(2), "bytesOut": rate(3) })
}
