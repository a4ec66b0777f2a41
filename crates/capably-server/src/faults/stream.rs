//! Responses that are forwarded as they arrive.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::proxy::end_to_end;
use crate::front::http::{
    body::{Body, BrokenOff, Pieces},
    reply::Response,
};

/// Sends a request to the service, and returns its response, whose body is still to come.
pub(super) async fn forward(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection: Connection = Box::pin(async move {
        // Its end shows in the body.
        let _ = connection.await;
    });
    let (answer, is_over) = {
        let answered = pin!(sender.send_request(request));
        match select(answered, &mut connection).await {
            Either::Left((answer, _)) => (answer?, false),
            // The connection has ended, but the sender may still have the response that it read before.
            Either::Right(((), answered)) => (answered.await?, true),
        }
    };
    let (head, body) = answer.into_parts();
    let pieces = Forwarded { connection: (!is_over).then_some(connection), body };
    let mut response = Response::new(Body::Stream(Box::new(pieces)));
    *response.status_mut() = head.status;
    // With its length, if it has one: then it is no stream.
    *response.headers_mut() = end_to_end(&head.headers, true);
    Ok(response)
}

/// The connection to the service, which must be polled for the body to arrive.
type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of a response, on its way.
struct Forwarded {
    connection: Option<Connection>,
    body: Incoming,
}

impl Pieces for Forwarded {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        loop {
            if let Some(connection) = &mut self.connection
                && connection.as_mut().poll(cx).is_ready()
            {
                self.connection = None;
            }
            let Some(frame) = ready!(pin!(self.body.frame()).poll(cx)) else {
                return Poll::Ready(None);
            };
            let Ok(frame) = frame else { return Poll::Ready(Some(Err(BrokenOff))) };
            // Trailers are left out.
            if let Ok(piece) = frame.into_data() {
                return Poll::Ready(Some(Ok(piece)));
            }
        }
    }
}
