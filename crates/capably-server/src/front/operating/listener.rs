//! The listener for operators, on an address of its own.

use std::{convert::Infallible, sync::Arc};

use capably_protocol::Format;
use hyper::{Request, body::Incoming};
use tokio::task::JoinSet;

use super::endpoints;
use crate::{
    front::{
        Shared,
        http::{
            connection::{Handle, serve_http},
            reply::{Reply, Response},
        },
    },
    hub::error,
    service::{Sockets, Stop, accept, drain},
};

/// Serves the health and the metrics until the server is to stop.
pub(crate) async fn serve_metrics(listener: Sockets, mut stop: Stop, shared: Arc<Shared>) {
    let stopping = stop.clone();
    let mut tasks = JoinSet::new();
    accept(listener, &mut tasks, &mut stop, |stream| {
        let (shared, stop) = (Arc::clone(&shared), stopping.clone());
        async move {
            serve_http(stream, stop, &Handler(shared)).await;
        }
    })
    .await;
    drain(tasks).await;
}

struct Handler(Arc<Shared>);

impl Handle for Handler {
    type Upgrade = Infallible;

    async fn handle(
        &self,
        request: Request<Incoming>,
        _: &mut Option<Infallible>,
    ) -> Option<Response> {
        let answer = endpoints::answer(&self.0, request.method(), request.uri().path(), true);
        let not_found = || Reply::error(Format::Json, &error::not_found());
        Some(answer.unwrap_or_else(not_found).into_response())
    }
}
