//! A response, and what it tells the connection.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    body::{Frame, SizeHint},
    header::{self, HeaderValue},
};

use crate::front::http::{
    body::{Body, BrokenOff},
    reply::Response,
};

/// The largest piece of a body. h2 accepts a whole piece as soon as the client allows one byte of it.
const MAX_PIECE: usize = 16 * 1024;

/// What responses tell their connection. All of them run in its task.
#[derive(Debug, Default)]
pub(super) struct Signals {
    is_last: AtomicBool,
    is_cut: AtomicBool,
    sending: AtomicU8,
}

/// Where a body was when it was last polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// It has a piece for the client.
    Piece = 1,
    /// It has nothing to send at the moment.
    Nothing = 2,
}

impl Signals {
    /// The connection ends at once.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Relaxed);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.load(Relaxed)
    }

    /// Whether the connection takes no more requests.
    pub(super) fn is_last(&self) -> bool {
        self.is_last.load(Relaxed)
    }

    /// Where the body is that was polled since the last call; `None` if none was.
    pub(super) fn take_sending(&self) -> Option<Sending> {
        match self.sending.swap(0, Relaxed) {
            1 => Some(Sending::Piece),
            2 => Some(Sending::Nothing),
            _ => None,
        }
    }

    fn sending(&self, sending: Sending) {
        self.sending.store(sending as u8, Relaxed);
    }
}

/// A body in pieces that are small enough for a client that reads slowly.
pub(super) struct PieceBody {
    body: Body,
    /// The rest of the piece that the body gave last.
    rest: Bytes,
    signals: Arc<Signals>,
}

impl PieceBody {
    /// The response as HTTP/2 has it: without headers of the connection, and after HEAD without a body.
    pub(super) fn of(
        response: Response,
        is_head: bool,
        signals: Arc<Signals>,
    ) -> hyper::Response<Self> {
        let (mut head, mut body) = response.into_parts();
        // `close` becomes a GOAWAY: requests that are on their way are answered, the next is for a new connection.
        if head.headers.remove(header::CONNECTION).is_some_and(|value| value == "close") {
            signals.is_last.store(true, Relaxed);
        }
        if is_head {
            if let Some(length) = hyper::body::Body::size_hint(&body).exact() {
                head.headers
                    .entry(header::CONTENT_LENGTH)
                    .or_insert_with(|| HeaderValue::from(length));
            }
            body = Body::default();
        }
        hyper::Response::from_parts(head, Self { body, rest: Bytes::new(), signals })
    }
}

impl hyper::body::Body for PieceBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            this.signals.sending(Sending::Nothing);
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => this.rest = frame.into_data().unwrap_or_default(),
                end => return Poll::Ready(end),
            }
        }
        this.signals.sending(Sending::Piece);
        let piece = this.rest.split_to(this.rest.len().min(MAX_PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // hyper asks before the first piece.
        self.body.size_hint()
    }
}
