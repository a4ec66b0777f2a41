//! Observing requests: the span in the log, and the metrics.

use std::time::Instant;

use capably_protocol::ErrorInfo;
use hyper::http::request::Parts;
use tracing::{Instrument, Span, field::Empty};

use crate::{
    front::http::reply::Reply,
    metrics::{Metrics, StatusClass},
};

/// A request that is being answered.
pub(in crate::front) struct Observation {
    span: Span,
    started: Instant,
}

impl Observation {
    /// A request has arrived.
    ///
    /// The span has the template of the route, not the path: that would tell names of channels, and the query would
    /// tell credentials.
    pub(in crate::front) fn start(head: &Parts) -> Self {
        let span = tracing::info_span!(
            "request",
            method = %head.method,
            route = Empty,
            app = Empty,
            status = Empty,
        );
        Self { span, started: Instant::now() }
    }

    /// Does the work of the request inside its span.
    pub(in crate::front) async fn inside<T>(&self, work: impl Future<Output = T>) -> T {
        work.instrument(self.span.clone()).await
    }

    /// The request is refused with this error.
    pub(in crate::front) fn refused(&self, error: &ErrorInfo, metrics: &Metrics) {
        metrics.refused(error, 1);
        self.span.in_scope(|| {
            if error.status_code >= 500 {
                tracing::warn!(code = error.code.0, "a request has failed");
            } else {
                tracing::debug!(code = error.code.0, "a request is refused");
            }
        });
    }

    /// The request is answered.
    pub(in crate::front) fn answered(self, reply: &Reply, metrics: &Metrics) {
        let (status, time) = (reply.status().as_u16(), self.started.elapsed());
        metrics.request_answered(StatusClass::of(status), time);
        metrics.rest().sent(0, reply.size() as u64);
        self.span.record("status", status);
        self.span.in_scope(|| tracing::debug!(?time, "a request is answered"));
    }
}

/// The route that the current request has taken.
pub(super) fn route(template: &'static str) {
    Span::current().record("route", template);
}

/// The app that the current request is for.
pub(super) fn app(id: &str) {
    Span::current().record("app", id);
}
