//! `GET /health/live`, `GET /health/ready` and `GET /metrics`. They need no credentials and belong to no app.

use hyper::{Method, StatusCode, header};

use super::metrics_text;
use crate::{
    front::{Shared, http::reply::Reply},
    metrics::CONTENT_TYPE,
    readiness::State,
};

/// Answers a request for the health of the server, or for its metrics if `with_metrics` is set; `None` for any other.
pub(in crate::front) fn answer(
    shared: &Shared,
    method: &Method,
    path: &str,
    with_metrics: bool,
) -> Option<Reply> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    match path {
        // Never the state of an app or of the engine: a process that is restarted because another one is away helps
        // nobody.
        "/health/live" => Some(json(StatusCode::OK, r#"{"status":"live"}"#)),
        "/health/ready" => Some(ready(shared)),
        "/metrics" if with_metrics => Some(match metrics_text(shared) {
            Some(text) => Reply::plain(StatusCode::OK, CONTENT_TYPE, text),
            None => Reply::empty(StatusCode::INTERNAL_SERVER_ERROR),
        }),
        _ => None,
    }
}

fn ready(shared: &Shared) -> Reply {
    match shared.operating.readiness.state() {
        State::Ready => json(StatusCode::OK, r#"{"status":"ready"}"#),
        State::Draining => json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#),
        // Without the reason: everybody can read this, and the log has it.
        State::Unavailable(_) => {
            json(StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"unavailable"}"#)
        }
    }
}

fn json(status: StatusCode, body: &'static str) -> Reply {
    Reply::plain(status, "application/json", body).header(header::CACHE_CONTROL, "no-store")
}
