//! The frames on their way between a session and the HTTP requests of its client.
//!
//! The session has one end, the [`Mailbox`], and the requests share the other, the [`Exchange`]. Both directions are
//! bounded: a request that sends waits until the session has read the frames before, and the session stops to write
//! until a request has taken what it has written.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{Format, codec::FrameBatch, websocket::Kind};
use tokio::{sync::Notify, time::timeout};

use crate::front::{
    http::body::{BrokenOff, Pieces},
    socket::carrier::Received,
};

/// The session writes frames up to this size before a request must take them.
const WRITE_SIZE: usize = 64 * 1024;

/// How long the last frames of a session wait for a request.
const LINGER: Duration = Duration::from_secs(5);

/// The end of the session.
pub(in crate::front) struct Mailbox(Arc<Exchange>);

/// The frames on their way in both directions.
pub(super) struct Exchange {
    format: Format,
    /// The bytes of the client's frames that may wait for the session.
    max_inbound: usize,
    state: Mutex<State>,
    /// Wakes requests that send: the session has read frames, or has ended.
    read: Notify,
    /// Wakes requests that wait for the end of the session, and the session that waits for a last request.
    ended: Notify,
}

struct State {
    /// The frames of the client that the session has not read.
    inbound: VecDeque<Bytes>,
    inbound_size: usize,
    /// The frames for the client that no request has taken.
    outbound: FrameBatch,
    phase: Phase,
    /// The number of the request that receives; a newer one takes over.
    reader: u64,
    is_reading: bool,
    /// A stream was cut off: frames that it had taken may be lost.
    is_cut: bool,
    /// A request has taken frames since the session last asked.
    was_read: bool,
    session: Option<Waker>,
    receiver: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The client has asked for the end of the transport.
    Disconnected,
    /// The session is over.
    Ended,
}

/// Both ends of an exchange of frames in this format.
pub(super) fn exchange(format: Format, max_inbound: usize) -> (Mailbox, Arc<Exchange>) {
    let exchange = Arc::new(Exchange {
        format,
        max_inbound,
        state: Mutex::new(State {
            inbound: VecDeque::new(),
            inbound_size: 0,
            outbound: FrameBatch::new(format),
            phase: Phase::Open,
            reader: 0,
            is_reading: false,
            is_cut: false,
            was_read: false,
            session: None,
            receiver: None,
        }),
        read: Notify::new(),
        ended: Notify::new(),
    });
    (Mailbox(Arc::clone(&exchange)), exchange)
}

impl Mailbox {
    /// The next frame of the client.
    pub(in crate::front) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let mut state = self.0.lock();
        if state.phase != Phase::Open {
            return Poll::Ready(Received::End);
        }
        let Some(frame) = state.inbound.pop_front() else {
            state.session = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.inbound_size -= frame.len();
        let has_room = state.inbound_size <= self.0.max_inbound;
        drop(state);
        if has_room {
            self.0.read.notify_waiters();
        }
        let kind = match self.0.format {
            Format::Json => Kind::Text,
            Format::MsgPack => Kind::Binary,
        };
        Poll::Ready(Received::Message(kind, frame))
    }

    /// Ready when a frame can be queued.
    pub(in crate::front) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.outbound.size() < WRITE_SIZE {
            return Poll::Ready(());
        }
        state.session = Some(cx.waker().clone());
        let receiver = state.receiver.take();
        drop(state);
        receiver.into_iter().for_each(Waker::wake);
        Poll::Pending
    }

    /// Queues a frame, which `write` appends. Returns its size.
    pub(in crate::front) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let mut size = 0;
        self.0.lock().outbound.push_with(|out| {
            let before = out.len();
            write(out);
            size = out.len() - before;
        });
        size
    }

    /// Whether requests have taken all frames.
    pub(in crate::front) fn is_flushed(&self) -> bool {
        self.0.lock().outbound.is_empty()
    }

    /// Offers the queued frames to the request that receives.
    pub(in crate::front) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.outbound.is_empty() {
            return Poll::Ready(());
        }
        state.session = Some(cx.waker().clone());
        let receiver = state.receiver.take();
        drop(state);
        receiver.into_iter().for_each(Waker::wake);
        Poll::Pending
    }

    /// Whether a request has taken frames since the last call.
    pub(in crate::front) fn was_read(&mut self) -> bool {
        std::mem::take(&mut self.0.lock().was_read)
    }

    /// Ends the exchange. The client has a moment to take the last frames.
    pub(in crate::front) async fn close(self) {
        self.0.end();
        let taken = async {
            loop {
                let changed = self.0.ended.notified();
                if self.0.is_over() {
                    return;
                }
                changed.await;
            }
        };
        // A client that does not come for them resumes.
        let _ = timeout(LINGER, taken).await;
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Exchange {
    /// The format of its frames.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Gives frames of the client to the session. Waits until the session has read enough of those before. Returns
    /// false if the session has ended without reading them.
    pub(super) async fn send(&self, mut frames: Vec<Bytes>) -> bool {
        loop {
            let read = self.read.notified();
            if let Some(sent) = self.try_send(&mut frames) {
                return sent;
            }
            read.await;
        }
    }

    /// As [`send`](Self::send). `None` if it has to wait.
    fn try_send(&self, frames: &mut Vec<Bytes>) -> Option<bool> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Some(false);
        }
        if state.inbound_size > self.max_inbound {
            return None;
        }
        state.inbound_size += frames.iter().map(Bytes::len).sum::<usize>();
        state.inbound.extend(frames.drain(..));
        let session = state.session.take();
        drop(state);
        session.into_iter().for_each(Waker::wake);
        Some(true)
    }

    /// Begins to receive for a request. A request that receives already ends. `None` if frames may have been lost
    /// with a request before, so that the client must resume.
    pub(super) fn receive(self: &Arc<Self>) -> Option<Receiver> {
        let mut state = self.lock();
        if state.is_cut {
            return None;
        }
        state.reader += 1;
        state.is_reading = true;
        let (number, before) = (state.reader, state.receiver.take());
        drop(state);
        before.into_iter().for_each(Waker::wake);
        Some(Receiver { exchange: Arc::clone(self), number, is_stream: false, is_done: false })
    }

    /// Ends the transport as if its connection had ended. The client may resume.
    pub(super) fn disconnect(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Disconnected;
        }
        let session = state.session.take();
        drop(state);
        session.into_iter().for_each(Waker::wake);
    }

    /// Waits for the end of the session.
    pub(super) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.lock().phase == Phase::Ended {
                return;
            }
            ended.await;
        }
    }

    /// The frames that no request receives, as an array.
    pub(super) fn rest(&self) -> Bytes {
        let mut state = self.lock();
        if state.is_reading {
            return FrameBatch::new(self.format).take();
        }
        let rest = state.outbound.take();
        drop(state);
        self.ended.notify_waiters();
        rest
    }

    /// Whether nobody comes for the last frames, or there are none.
    fn is_over(&self) -> bool {
        let state = self.lock();
        state.outbound.is_empty() || state.is_cut
    }

    fn end(&self) {
        let mut state = self.lock();
        state.phase = Phase::Ended;
        let receiver = state.receiver.take();
        drop(state);
        receiver.into_iter().for_each(Waker::wake);
        self.read.notify_waiters();
        self.ended.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that receives the frames of the session.
pub(super) struct Receiver {
    exchange: Arc<Exchange>,
    number: u64,
    is_stream: bool,
    /// Nothing comes any more, or a newer request has taken over.
    is_done: bool,
}

impl Receiver {
    /// The frames come as one stream. If it is dropped before its end, frames that it has taken may be lost.
    pub(super) fn into_stream(mut self) -> Self {
        self.is_stream = true;
        self
    }

    /// The frames that are there, as one array: at least one frame. `None` when the session has ended, or a newer
    /// request receives.
    pub(super) fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.exchange.lock();
        if state.reader != self.number {
            drop(state);
            self.is_done = true;
            return Poll::Ready(None);
        }
        let is_over = state.phase == Phase::Ended;
        if state.outbound.is_empty() {
            if is_over {
                state.is_reading = false;
                drop(state);
                self.is_done = true;
                return Poll::Ready(None);
            }
            state.receiver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let frames = state.outbound.take();
        state.was_read = true;
        let session = state.session.take();
        drop(state);
        session.into_iter().for_each(Waker::wake);
        if is_over {
            self.exchange.ended.notify_waiters();
        }
        Poll::Ready(Some(frames))
    }
}

impl Pieces for Receiver {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        self.poll_frames(cx).map(|frames| frames.map(Ok))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let mut state = self.exchange.lock();
        if state.reader != self.number {
            return;
        }
        state.is_reading = false;
        state.receiver = None;
        state.is_cut |= self.is_stream;
        drop(state);
        self.exchange.ended.notify_waiters();
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailbox")
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;

    fn frame() -> Bytes {
        Bytes::from_static(b"{}")
    }

    /// Queues a frame for the client.
    fn write(mailbox: &mut Mailbox) {
        mailbox.send(|out| out.extend_from_slice(&frame()));
    }

    /// The frames that a request has now.
    fn take(receiver: &mut Receiver) -> Option<Option<Bytes>> {
        poll_fn(|cx| receiver.poll_frames(cx)).now_or_never()
    }

    #[test]
    fn frames_reach_one_request_as_one_array() {
        let (mut mailbox, exchange) = exchange(Format::Json, 100);
        let mut receiver = exchange.receive().unwrap();
        assert_eq!(take(&mut receiver), None);
        write(&mut mailbox);
        write(&mut mailbox);
        assert!(!mailbox.is_flushed());
        assert_eq!(take(&mut receiver), Some(Some("[{},{}]\n".into())));
        assert!(mailbox.is_flushed());
        write(&mut mailbox);
        drop(mailbox);
        assert_eq!(take(&mut receiver), Some(Some("[{}]\n".into())), "the last frames come, too");
        assert_eq!(take(&mut receiver), Some(None));
    }

    #[test]
    fn a_newer_request_receives_what_the_older_has_not_taken() {
        let (mut mailbox, exchange) = exchange(Format::Json, 100);
        let mut older = exchange.receive().unwrap().into_stream();
        let mut newer = exchange.receive().unwrap();
        write(&mut mailbox);
        assert_eq!(take(&mut older), Some(None));
        drop(older);
        assert_eq!(take(&mut newer), Some(Some("[{}]\n".into())));
        assert!(exchange.receive().is_some(), "the older stream has ended in order");
    }

    #[tokio::test]
    async fn after_a_stream_was_cut_off_no_request_receives() {
        let (mut mailbox, exchange) = exchange(Format::Json, 100);
        drop(exchange.receive().unwrap());
        let stream = exchange.receive().expect("a poll that has taken nothing loses nothing");
        drop(stream.into_stream());
        assert!(exchange.receive().is_none());
        // It can still close.
        assert_eq!(exchange.send(vec![frame()]).now_or_never(), Some(true));
        let received = poll_fn(|cx| mailbox.poll_receive(cx)).now_or_never();
        assert!(matches!(received, Some(Received::Message(Kind::Text, text)) if text == frame()));
        write(&mut mailbox);
        assert_eq!(mailbox.close().now_or_never(), Some(()), "nobody comes for the last frames");
    }

    #[test]
    fn a_request_that_sends_waits_until_the_session_has_read() {
        let (mut mailbox, exchange) = exchange(Format::Json, 3);
        let send = |count: usize| exchange.send(vec![frame(); count]);
        assert_eq!(send(2).now_or_never(), Some(true));
        let mut waiting = Box::pin(send(1));
        assert_eq!((&mut waiting).now_or_never(), None);
        assert!(poll_fn(|cx| mailbox.poll_receive(cx)).now_or_never().is_some());
        assert_eq!((&mut waiting).now_or_never(), Some(true));
        let mut waiting = Box::pin(send(1));
        assert_eq!((&mut waiting).now_or_never(), None);
        drop(mailbox);
        assert_eq!(waiting.now_or_never(), Some(false), "the session has ended");
    }

    #[test]
    fn a_client_that_does_not_receive_stops_the_session() {
        let (mut mailbox, exchange) = exchange(Format::Json, 100);
        let mut written = 0;
        while poll_fn(|cx| mailbox.poll_ready(cx)).now_or_never().is_some() {
            written += mailbox.send(|out| out.extend([b' '; 1000]));
        }
        assert!((WRITE_SIZE - 1000..WRITE_SIZE + 1000).contains(&written), "{written}");
        assert!(take(&mut exchange.receive().unwrap()).is_some());
        assert!(poll_fn(|cx| mailbox.poll_ready(cx)).now_or_never().is_some());
    }

    #[test]
    fn what_nothing_receives_is_in_the_reply_to_the_end() {
        let (mut mailbox, exchange) = exchange(Format::MsgPack, 100);
        write(&mut mailbox);
        let receiver = exchange.receive().unwrap();
        assert_eq!(exchange.rest(), b"\x90"[..], "a request receives");
        drop(receiver);
        assert_eq!(exchange.rest(), b"\xdd\0\0\0\x01{}"[..]);
        assert!(mailbox.is_flushed());
    }
}
