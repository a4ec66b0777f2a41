//! Comet: frames in HTTP requests.
//!
//! One request receives: a stream of arrays of frames, or one array, after which the next request follows. Another
//! sends the frames that have collected while the one before was under way. The frames are JSON, as the service takes
//! no other format there.

use std::{
    fmt,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{ErrorCode, Format, codec::FrameBatch};
use tokio::time::{Sleep, sleep, timeout};

use self::{
    answer::Answer,
    service::{Asking, Service},
};
use super::{Connector, DialRequest, Dialling, Packet, WebSocket, pages::Pages};
use crate::{Error, Result, http::HttpClient};

mod answer;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod service;

/// The bytes of frames that collect while a request sends those before.
const MAX_UNSENT: usize = 64 * 1024;

/// How long a request that receives may wait for its response: more than the service's longest silence.
const MAX_WAIT: Duration = Duration::from_secs(90);

/// Opens connections over comet.
pub(crate) struct CometConnector {
    http: Arc<dyn HttpClient>,
    /// Something in the network collects whole responses before it forwards them, so streams do not arrive.
    polls: Arc<AtomicBool>,
}

impl CometConnector {
    pub(crate) fn new(http: Arc<dyn HttpClient>) -> Self {
        Self { http, polls: Arc::default() }
    }
}

impl Connector for CometConnector {
    fn connect(&self, request: DialRequest) -> Dialling {
        let (http, polls) = (Arc::clone(&self.http), Arc::clone(&self.polls));
        Box::pin(async move {
            if http.can_stream() && !polls.load(Ordering::Relaxed) {
                let opening = CometSocket::open(Arc::clone(&http), &request, true);
                // The rest of the time is for a connection without a stream.
                match timeout(request.timeout * 2 / 5, opening).await {
                    Ok(opened) => return opened,
                    Err(_) => tracing::debug!("no stream arrives over comet: polling instead"),
                }
            }
            let opened = CometSocket::open(http, &request, false).await?;
            polls.store(true, Ordering::Relaxed);
            Ok(opened)
        })
    }
}

impl fmt::Debug for CometConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CometConnector").field("polls", &self.polls).finish_non_exhaustive()
    }
}

/// A connection over comet.
struct CometSocket {
    service: Service,
    /// The connection's key, since CONNECTED has arrived.
    key: Option<String>,
    receiving: Receiving,
    /// The request that sends.
    sending: Option<(Asking, Pin<Box<Sleep>>)>,
    unsent: FrameBatch,
    /// Packets that were received.
    received: Vec<Packet>,
    pages: Pages,
    /// Why the connection has ended, until it is reported.
    failure: Option<Error>,
}

/// The request that receives.
enum Receiving {
    /// It waits for the head of its response.
    Asking(Asking, Pin<Box<Sleep>>),
    Reading(Answer),
    /// The response before has ended, and the next request is not sent yet.
    Idle,
}

impl CometSocket {
    /// Opens a connection, and returns it when the first packet has arrived.
    ///
    /// # Errors
    /// 80000 without a first packet, and with a response of status 500 or more.
    async fn open(
        http: Arc<dyn HttpClient>,
        request: &DialRequest,
        streams: bool,
    ) -> Result<Box<dyn WebSocket>> {
        let service = Service::new(http, request, streams);
        let asking = service.connect(request);
        let mut socket = Box::new(Self {
            service,
            key: None,
            receiving: Receiving::Asking(asking, Box::pin(sleep(MAX_WAIT))),
            sending: None,
            unsent: FrameBatch::new(Format::Json),
            received: Vec::new(),
            pages: Pages::default(),
            failure: None,
        });
        poll_fn(|cx| socket.poll_packets(cx)).await.map_err(dial_failed)?;
        match &socket.receiving {
            // Another host may do better.
            Receiving::Reading(answer) if answer.status() >= 500 => {
                Err(dial_failed(refused(answer.status())))
            }
            _ => Ok(socket),
        }
    }

    /// Ready when a packet has arrived.
    fn poll_packets(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            // The error follows the packets that have arrived. Were it dropped, nothing would send its frames again.
            if let Poll::Ready(Err(error)) = self.poll_sending(cx) {
                self.failure.get_or_insert(error);
            }
            if !self.received.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Err(failure));
            }
            match ready!(self.poll_receiving(cx)) {
                Ok(()) => {}
                Err(error) => self.failure = Some(error),
            }
        }
    }

    /// Reads from the request that receives: packets, or a step of its life.
    fn poll_receiving(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.receiving {
            Receiving::Idle => {
                let Some(key) = &self.key else {
                    return Poll::Ready(Err(lost(0, "comet has sent no CONNECTED")));
                };
                let asking = self.service.receive(key);
                let limit = Box::pin(sleep(MAX_WAIT));
                self.receiving = Receiving::Asking(asking, limit);
            }
            Receiving::Asking(asking, limit) => {
                let answer = match asking.as_mut().poll(cx) {
                    Poll::Ready(answer) => answer?,
                    Poll::Pending => {
                        ready!(limit.as_mut().poll(cx));
                        return Poll::Ready(Err(lost(408, "comet has not answered in time")));
                    }
                };
                self.receiving = Receiving::Reading(answer);
            }
            Receiving::Reading(answer) => match ready!(answer.poll_frames(cx))? {
                Some(frames) => self.take(frames),
                None => {
                    let status = answer.status();
                    self.receiving = Receiving::Idle;
                    if status >= 400 {
                        self.failure = Some(refused(status));
                    } else if self.key.is_some() {
                        // Each request counts as a sign of life: the service counts the time without a frame from its
                        // start.
                        self.received.push(Packet::Ping);
                    }
                }
            },
        }
        Poll::Ready(Ok(()))
    }

    /// Goes on with the request that sends. Ready when there is none.
    fn poll_sending(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some((asking, limit)) = &mut self.sending else { return Poll::Ready(Ok(())) };
        let answer = match asking.as_mut().poll(cx) {
            Poll::Ready(answer) => answer.and_then(Answer::into_whole),
            Poll::Pending => {
                ready!(limit.as_mut().poll(cx));
                Err(lost(408, "comet has not confirmed frames in time"))
            }
        };
        self.sending = None;
        match answer {
            Ok((status, frames)) => {
                self.take(frames);
                if status < 400 {
                    return Poll::Ready(Ok(()));
                }
                self.failure = Some(refused(status));
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn take(&mut self, frames: Vec<Bytes>) {
        let pages = &mut self.pages;
        self.received.extend(frames.into_iter().map(|frame| Packet::Text(pages.own(frame))));
    }
}

impl WebSocket for CometSocket {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut Vec<Packet>,
        limit: usize,
    ) -> Poll<Result<()>> {
        ready!(self.poll_packets(cx))?;
        if self.received.len() <= limit && packets.is_empty() {
            mem::swap(packets, &mut self.received);
        } else {
            let count = self.received.len().min(limit);
            packets.extend(self.received.drain(..count));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.unsent.size() < MAX_UNSENT {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    fn send(&mut self, packet: Packet) -> Result<()> {
        match packet {
            Packet::Text(text) => self.unsent.push_with(|out| out.extend_from_slice(&text)),
            Packet::Binary(_) => return Err(lost(400, "comet carries frames in JSON only")),
            Packet::Ping => {}
        }
        Ok(())
    }

    fn send_with(&mut self, _: Format, write: &mut dyn FnMut(&mut Vec<u8>)) -> Result<()> {
        self.unsent.push_with(write);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            let before = (self.received.len(), self.failure.is_some());
            if let Err(error) = ready!(self.poll_sending(cx)) {
                self.failure.get_or_insert(error);
            }
            if (self.received.len(), self.failure.is_some()) != before {
                // The client learns of it as it receives, which nothing else wakes it for.
                cx.waker().wake_by_ref();
            }
            if self.failure.is_some() {
                return Poll::Ready(Err(lost(0, "the connection over comet has ended")));
            }
            if self.unsent.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // Nothing is sent before CONNECTED, which brings the key.
            let Some(key) = &self.key else { return Poll::Pending };
            let asking = self.service.send(key, self.unsent.take());
            self.sending = Some((asking, Box::pin(sleep(self.service.timeout))));
        }
    }

    fn format(&self) -> Option<Format> {
        Some(Format::Json)
    }

    fn connected(&mut self, connection_key: &str) {
        self.key = Some(connection_key.to_owned());
    }

    fn renewed(&mut self, access_token: &str) {
        self.service.renewed(access_token);
    }

    fn close(&mut self) {
        // Dropping the requests ends them, and the service notices that nobody receives.
    }
}

impl fmt::Debug for CometSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CometSocket")
            .field("streams", &self.service.streams())
            .finish_non_exhaustive()
    }
}

/// The error of a connection that has ended.
fn lost(status: u16, message: impl Into<String>) -> Error {
    Error::new(ErrorCode::CONNECTION_DISCONNECTED, status, message)
}

fn refused(status: u16) -> Error {
    lost(status, format!("the service has refused a request of comet with status {status}"))
}

/// The error of a connection that was never open.
fn dial_failed(error: Error) -> Error {
    let status = error.status().unwrap_or(0);
    let message = format!("comet cannot connect: {}", error.message());
    Error::new(ErrorCode::CONNECTION_FAILED, status, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{BoxFuture, HttpError, HttpErrorKind, HttpRequest, HttpResponse};

    /// A service that answers every request with two frames, except those that send: they break off.
    struct Broken;

    impl HttpClient for Broken {
        fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
            Box::pin(async move {
                if request.url.contains("/send") {
                    tokio::task::yield_now().await;
                    return Err(HttpError::new(HttpErrorKind::Interrupted, "it breaks off"));
                }
                let frames = HttpResponse::new(200, r#"[{"action":4},{"action":0}]"#);
                Ok(frames.with_header("Content-Type", "application/json"))
            })
        }
    }

    async fn receive(socket: &mut dyn WebSocket) -> Result<usize> {
        let mut packets = Vec::new();
        poll_fn(|cx| socket.poll_receive(cx, &mut packets, 1)).await.map(|()| packets.len())
    }

    /// Its frames are lost, so that nothing else may go on.
    #[tokio::test]
    async fn a_request_to_send_that_fails_ends_the_connection_after_the_frames_that_have_arrived() {
        let limit = Duration::from_secs(10);
        let request = DialRequest::of_url("ws://service/", 1024, limit).unwrap();
        let mut socket = CometSocket::open(Arc::new(Broken), &request, false).await.unwrap();
        assert_eq!(receive(&mut *socket).await.unwrap(), 1);
        socket.connected("key");
        socket.send(Packet::Text("{}".into())).unwrap();
        let flush = poll_fn(|cx| Poll::Ready(socket.poll_flush(cx).is_pending())).await;
        assert!(flush, "the request is under way");
        assert_eq!(receive(&mut *socket).await.unwrap(), 1);
        let error = receive(&mut *socket).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::CONNECTION_DISCONNECTED);
        assert!(error.to_string().contains("breaks off"), "{error}");
    }
}
