//! Frames that the service acknowledges: sent and waiting for their ACK, or queued until there is a connection
//! (RTN7, RTN19a, RTL6c2).

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use capably_protocol::{
    ClientFrame, ErrorInfo, Message, ObjectMessage, PresenceMessage, PublishResult, Str,
    frame::{Ack, Nack, Publish},
};

use crate::{
    Instant, OpId, Outcome, Timer, context::Cx, errors, frame_size, presence::AttachmentId,
};

/// A frame that wants an acknowledgement.
#[derive(Debug)]
struct Entry {
    /// The operation that ends with the acknowledgement; none if the client sent the frame on its own.
    op: Option<OpId>,
    frame: ClientFrame,
    /// The attachment that a presence message was sent for.
    attachment: Option<AttachmentId>,
    /// Until when the frame may be sent on another connection; `None` for no limit.
    resend_until: Option<Instant>,
}

/// A settled frame that concerns its channel.
#[derive(Debug)]
pub(crate) enum Settled {
    /// The client sent the frame on its own, and the service did not accept it.
    Unaccepted { frame: ClientFrame, attachment: Option<AttachmentId>, error: ErrorInfo },
    /// The service accepted operations on objects. The channel applies them, and ends the operation (RTO20).
    Objects { op: OpId, publish: Publish<ObjectMessage>, result: PublishResult },
    /// The service accepted a presence message of the application. The operation has ended.
    Presence { publish: Publish<PresenceMessage>, attachment: Option<AttachmentId> },
}

/// Frames in the order of their operations. `sent` holds consecutive serials, the last of which is the one
/// before `next_serial`.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    sent: VecDeque<Entry>,
    queued: VecDeque<Entry>,
    next_serial: u64,
    /// Since when the service has acknowledged nothing, while there is a frame to acknowledge.
    since: Instant,
    /// The memory of single messages that are settled.
    spent: Vec<Arc<[Message]>>,
}

/// How much memory of settled messages waits to be used again at most, in messages.
const MAX_SPENT: usize = 128;

impl Outbox {
    /// An outbox whose first frame has this serial (RTN16f).
    pub(crate) fn starting_at(serial: u64) -> Self {
        Self { next_serial: serial, ..Self::default() }
    }

    /// Sends a frame, or queues it until there is a connection (RTL6c1, RTL6c2). If the frame is not `ready`
    /// or may not be sent, the operation ends with the error.
    pub(crate) fn submit(
        &mut self,
        op: OpId,
        ready: Result<ClientFrame, ErrorInfo>,
        cx: &mut Cx<'_>,
    ) {
        let ready = ready.and_then(|frame| {
            frame_size::check(&frame, cx)?;
            Ok(frame)
        });
        match ready {
            Err(error) => cx.done(op, Err(error)),
            Ok(frame) if cx.is_connected() => self.send(op, frame, cx),
            Ok(frame) => {
                self.begin_to_wait(cx);
                self.queued.push_back(Entry { op: Some(op), ..Entry::new(frame) });
                cx.limit_wait();
            }
        }
    }

    /// Sends a frame, and stores it until it is acknowledged.
    fn send(&mut self, op: OpId, frame: ClientFrame, cx: &mut Cx<'_>) {
        self.begin_to_wait(cx);
        self.dispatch(Entry { op: Some(op), ..Entry::new(frame) }, cx);
        self.await_ack(cx);
    }

    /// Sends a presence message of an attachment, and stores it until it is acknowledged. Without an operation, it enters a
    /// member again.
    pub(crate) fn send_presence(
        &mut self,
        op: Option<OpId>,
        frame: ClientFrame,
        attachment: AttachmentId,
        cx: &mut Cx<'_>,
    ) {
        self.begin_to_wait(cx);
        let attachment = Some(attachment);
        self.dispatch(Entry { op, attachment, ..Entry::new(frame) }, cx);
        self.await_ack(cx);
    }

    /// Sends a frame that may be sent on another connection only until `resend_until`. The caller has checked that
    /// there is a connection.
    pub(crate) fn send_until(
        &mut self,
        op: OpId,
        ready: Result<ClientFrame, ErrorInfo>,
        resend_until: Instant,
        cx: &mut Cx<'_>,
    ) {
        let ready = ready.and_then(|frame| {
            frame_size::check(&frame, cx)?;
            Ok(frame)
        });
        match ready {
            Err(error) => cx.done(op, Err(error)),
            Ok(frame) => {
                self.begin_to_wait(cx);
                let resend_until = Some(resend_until);
                self.dispatch(Entry { op: Some(op), resend_until, ..Entry::new(frame) }, cx);
                self.await_ack(cx);
            }
        }
    }

    /// A frame is added: if it is the first, the wait for an acknowledgement begins.
    fn begin_to_wait(&mut self, cx: &Cx<'_>) {
        if self.sent.is_empty() && self.queued.is_empty() {
            self.since = cx.now.instant;
        }
    }

    fn dispatch(&mut self, mut entry: Entry, cx: &mut Cx<'_>) {
        stamp(&mut entry.frame, self.next_serial);
        self.next_serial += 1;
        cx.send(entry.frame.clone());
        self.sent.push_back(entry);
    }

    /// On a new transport: sends everything that waits for an acknowledgement again, then what was queued
    /// (RTN19a). If the connection was not resumed, serials start at 0 (RTN11d, RTN15c7, RTN19a2).
    pub(crate) fn resend(&mut self, resumed: bool, cx: &mut Cx<'_>) {
        if !resumed {
            self.expire(cx);
            self.next_serial = 0;
            for entry in &mut self.sent {
                stamp(&mut entry.frame, self.next_serial);
                self.next_serial += 1;
            }
        }
        for entry in &self.sent {
            cx.send(entry.frame.clone());
        }
        while let Some(entry) = self.queued.pop_front() {
            self.dispatch(entry, cx);
        }
    }

    /// Ends the frames with a limit once the limit of one has passed. They end together: otherwise those that are sent
    /// again would overtake the others.
    fn expire(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.instant;
        if !self.sent.iter().any(|entry| entry.resend_until.is_some_and(|until| until <= now)) {
            return;
        }
        let sent = std::mem::take(&mut self.sent);
        for entry in sent {
            match (entry.op, entry.resend_until) {
                (Some(op), Some(_)) => cx.done(op, Err(errors::ack_timed_out())),
                _ => self.sent.push_back(entry),
            }
        }
    }

    /// Sets the deadline of the next acknowledgement, or clears it if none is awaited. Without a deadline a
    /// service that answers pings but acknowledges nothing would leave operations open for ever.
    pub(crate) fn await_ack(&mut self, cx: &mut Cx<'_>) {
        if self.sent.is_empty() || !cx.is_connected() {
            cx.timers.clear(Timer::Ack);
        } else if !cx.timers.is_set(Timer::Ack) {
            cx.timers.set(Timer::Ack, cx.now.instant + cx.connection.state_ttl);
        }
    }

    /// The connection was lost. Every operation ends if the service has acknowledged nothing for too long, however often
    /// the frames were sent again.
    pub(crate) fn connection_lost(&mut self, cx: &mut Cx<'_>) -> Vec<Settled> {
        if cx.is_overdue(self.since) {
            self.fail_all(&errors::ack_timed_out(), cx)
        } else {
            Vec::new()
        }
    }

    /// Ends the operations that an ACK settles, in order. A frame before the first acknowledged one will never
    /// be acknowledged: its operation ends with an error. An ACK of frames that were never sent settles nothing.
    pub(crate) fn acknowledge(&mut self, ack: Ack, cx: &mut Cx<'_>) -> Vec<Settled> {
        let mut settled = Vec::new();
        if !self.awaits(ack.msg_serial, ack.count) {
            return settled;
        }
        self.progressed(cx);
        self.pass_over(ack.msg_serial, &mut settled, cx);
        // Results belong to serials, so those of frames settled earlier are left out.
        let earlier = self.first_serial() - ack.msg_serial;
        let mut results = ack.res.into_iter().skip(usize::try_from(earlier).unwrap_or(usize::MAX));
        let mut spent = std::mem::take(&mut self.spent);
        for entry in self.sent_before(ack.msg_serial.saturating_add(ack.count)) {
            let result = Ok(results.next().unwrap_or_default());
            if let Some(messages) = entry.settle(result, &mut settled, cx) {
                spend(messages, &mut spent);
            }
        }
        self.spent = spent;
        settled
    }

    /// The memory of settled messages. It is empty after the caller has taken it.
    pub(crate) fn spent(&mut self) -> &mut Vec<Arc<[Message]>> {
        &mut self.spent
    }

    /// Ends the operations that a NACK settles, in order; as for an ACK.
    pub(crate) fn refuse(&mut self, nack: Nack, cx: &mut Cx<'_>) -> Vec<Settled> {
        let mut settled = Vec::new();
        if !self.awaits(nack.msg_serial, nack.count) {
            return settled;
        }
        self.progressed(cx);
        self.pass_over(nack.msg_serial, &mut settled, cx);
        let error = errors::from_service(nack.error, errors::refused);
        for entry in self.sent_before(nack.msg_serial.saturating_add(nack.count)) {
            entry.settle(Err(error.clone()), &mut settled, cx);
        }
        settled
    }

    /// Whether an acknowledgement settles anything: it is of a serial that was sent, and not of settled ones alone.
    fn awaits(&self, msg_serial: u64, count: u64) -> bool {
        msg_serial < self.next_serial && msg_serial.saturating_add(count) > self.first_serial()
    }

    /// The service has acknowledged a frame: the others have their whole time again.
    fn progressed(&mut self, cx: &mut Cx<'_>) {
        cx.timers.clear(Timer::Ack);
        self.since = cx.now.instant;
    }

    /// Ends every operation with this error, sent or queued (RTN7e).
    pub(crate) fn fail_all(&mut self, error: &ErrorInfo, cx: &mut Cx<'_>) -> Vec<Settled> {
        let mut settled = Vec::new();
        cx.timers.clear(Timer::Ack);
        for entry in self.sent.drain(..).chain(self.queued.drain(..)) {
            entry.settle(Err(error.clone()), &mut settled, cx);
        }
        settled
    }

    /// The attachments of the presence messages that were sent and are not acknowledged, with the names of their channels.
    pub(crate) fn attachments(&self) -> impl Iterator<Item = (&Str, AttachmentId)> {
        self.sent.iter().filter_map(|entry| match &entry.frame {
            ClientFrame::Presence(publish) => Some((&publish.channel, entry.attachment?)),
            _ => None,
        })
    }

    /// The members of an attachment of which the application has sent a message that is not acknowledged. `own` is the client
    /// id of a message that has none.
    pub(crate) fn members_under_way(
        &self,
        attachment: AttachmentId,
        own: Option<&Str>,
    ) -> BTreeSet<Str> {
        let of = |entry: &&Entry| entry.op.is_some() && entry.attachment == Some(attachment);
        let publishes = self.sent.iter().filter(of).filter_map(|entry| match &entry.frame {
            ClientFrame::Presence(publish) => Some(publish),
            _ => None,
        });
        let items = publishes.flat_map(|publish| publish.items.iter());
        items.filter_map(|item| item.client_id.as_ref().or(own)).cloned().collect()
    }

    /// The serial of the next frame.
    pub(crate) fn next_serial(&self) -> u64 {
        self.next_serial
    }

    fn first_serial(&self) -> u64 {
        self.next_serial - self.sent.len() as u64
    }

    fn pass_over(&mut self, before: u64, settled: &mut Vec<Settled>, cx: &mut Cx<'_>) {
        for entry in self.sent_before(before) {
            entry.settle(Err(errors::never_acknowledged()), settled, cx);
        }
    }

    /// Removes the sent frames whose serials are below `end`.
    fn sent_before(&mut self, end: u64) -> impl Iterator<Item = Entry> {
        // Most acknowledgements are of one frame: a `drain` would cost more than it saves.
        let count = end.saturating_sub(self.first_serial()).min(self.sent.len() as u64);
        (0..count).map_while(|_| self.sent.pop_front())
    }
}

impl Entry {
    fn new(frame: ClientFrame) -> Self {
        Self { op: None, frame, attachment: None, resend_until: None }
    }

    /// Ends the operation. Returns the memory of its messages.
    fn settle(
        self,
        result: Result<PublishResult, ErrorInfo>,
        settled: &mut Vec<Settled>,
        cx: &mut Cx<'_>,
    ) -> Option<Arc<[Message]>> {
        match (self.op, self.frame, result) {
            (Some(op), ClientFrame::Message(publish), result) => {
                cx.done(op, result.map(Outcome::Published));
                return Some(publish.items);
            }
            (Some(op), ClientFrame::Object(publish), Ok(result)) => {
                settled.push(Settled::Objects { op, publish, result });
            }
            (Some(op), ClientFrame::Presence(publish), Ok(result)) => {
                cx.done(op, Ok(Outcome::Published(result)));
                settled.push(Settled::Presence { publish, attachment: self.attachment });
            }
            (Some(op), _, result) => cx.done(op, result.map(Outcome::Published)),
            (None, _, Ok(_)) => {}
            (None, frame, Err(error)) => {
                settled.push(Settled::Unaccepted { frame, attachment: self.attachment, error });
            }
        }
        None
    }
}

/// Keeps the memory of a single message, and nothing that is in it.
fn spend(mut messages: Arc<[Message]>, spent: &mut Vec<Arc<[Message]>>) {
    if spent.len() < MAX_SPENT
        && let Some([message]) = Arc::get_mut(&mut messages)
    {
        *message = Message::default();
        spent.push(messages);
    }
}

fn stamp(frame: &mut ClientFrame, serial: u64) {
    match frame {
        ClientFrame::Message(publish) => publish.msg_serial = serial,
        ClientFrame::Presence(publish) => publish.msg_serial = serial,
        ClientFrame::Annotation(publish) => publish.msg_serial = serial,
        ClientFrame::Object(publish) => publish.msg_serial = serial,
        _ => debug_assert!(false, "frames of this action are not acknowledged"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capably_protocol::{Message, frame::Publish};

    use super::*;
    use crate::{Event, Now, Output, context::Shared};

    /// An outbox of a connected client.
    struct Bench {
        outbox: Outbox,
        shared: Shared,
    }

    type Ended = Vec<(u64, Result<String, u32>)>;

    impl Bench {
        /// With frames of these names sent, as the operations 0, 1, ….
        fn with_sent(names: &[&str]) -> Self {
            let mut bench = Self { outbox: Outbox::default(), shared: Shared::connected() };
            for (op, name) in names.iter().enumerate() {
                bench.outbox.send(
                    OpId(op as u64),
                    frame(name),
                    &mut bench.shared.cx(Now::default()),
                );
            }
            bench
        }

        /// As if a frame had been submitted without a connection.
        fn queue(&mut self, op: u64, name: &str) {
            let entry = Entry { op: Some(OpId(op)), ..Entry::new(frame(name)) };
            self.outbox.queued.push_back(entry);
        }

        fn act(&mut self, act: impl FnOnce(&mut Outbox, &mut Cx<'_>) -> Vec<Settled>) -> Ended {
            self.shared.outputs.clear();
            let settled = act(&mut self.outbox, &mut self.shared.cx(Now::default()));
            assert!(settled.is_empty(), "every frame here is a message of an operation");
            let outputs = self.shared.outputs.drain(..);
            outputs
                .map(|output| match output {
                    Output::Event(Event::Done(op, outcome)) => (op.0, readable(outcome)),
                    other => panic!("not the end of an operation: {other:?}"),
                })
                .collect()
        }

        fn acknowledge(&mut self, ack: Ack) -> Ended {
            self.act(|outbox, cx| outbox.acknowledge(ack, cx))
        }

        fn refuse(&mut self, nack: Nack) -> Ended {
            self.act(|outbox, cx| outbox.refuse(nack, cx))
        }

        /// The serials and names of the frames that were sent since the last call.
        fn sent(&mut self) -> Vec<(u64, String)> {
            let frames = self.shared.outputs.drain(..).map(|output| match output {
                Output::Send { frame: ClientFrame::Message(publish), .. } => {
                    (publish.msg_serial, publish.items[0].name.as_ref().unwrap().to_string())
                }
                other => panic!("not a message: {other:?}"),
            });
            frames.collect()
        }

        fn resend(&mut self, resumed: bool) -> Vec<(u64, String)> {
            self.shared.outputs.clear();
            self.outbox.resend(resumed, &mut self.shared.cx(Now::default()));
            self.sent()
        }
    }

    fn readable(outcome: Result<Outcome, ErrorInfo>) -> Result<String, u32> {
        match outcome.map_err(|error| error.code.0)? {
            Outcome::Published(result) => {
                Ok(result.serials.first().cloned().flatten().unwrap_or_default().to_string())
            }
            other => panic!("not of a publish: {other:?}"),
        }
    }

    fn frame(name: &str) -> ClientFrame {
        ClientFrame::Message(Publish {
            channel: "ch".into(),
            msg_serial: 99,
            items: [Message::new(name, "data")].into(),
            params: Default::default(),
        })
    }

    fn ack(msg_serial: u64, serials: &[&str]) -> Ack {
        let res = serials.iter().map(|s| PublishResult::new(vec![Some((*s).into())])).collect();
        Ack { msg_serial, count: serials.len() as u64, res }
    }

    #[test]
    fn serials_count_from_zero() {
        let mut bench = Bench::with_sent(&["a", "b"]);
        assert_eq!(bench.sent(), [(0, "a".into()), (1, "b".into())]);
        assert_eq!(bench.outbox.next_serial(), 2);
    }

    #[test]
    fn an_ack_settles_its_range_with_its_results() {
        let mut bench = Bench::with_sent(&["a", "b", "c"]);
        let settled = bench.acknowledge(ack(0, &["s0", "s1"]));
        assert_eq!(settled, [(0, Ok("s0".into())), (1, Ok("s1".into()))]);
        assert_eq!(bench.acknowledge(ack(2, &["s2"])), [(2, Ok("s2".into()))]);
    }

    #[test]
    fn the_memory_of_acknowledged_messages_is_kept_and_bounded() {
        let names = ["a"; MAX_SPENT + 10];
        let mut bench = Bench::with_sent(&names);
        let settled =
            bench.outbox.acknowledge(ack(0, &["s"]), &mut bench.shared.cx(Now::default()));
        assert!(
            settled.is_empty() && bench.outbox.spent().is_empty(),
            "the driver has the frame, too"
        );
        bench.acknowledge(ack(1, &["s"; MAX_SPENT + 9]));
        let spent = std::mem::take(bench.outbox.spent());
        assert_eq!(spent.len(), MAX_SPENT);
        assert!(spent.iter().all(|messages| **messages == [Message::default()]));
        assert!(bench.outbox.spent().is_empty());
    }

    #[test]
    fn an_ack_repeated_or_from_the_future_settles_nothing_else() {
        let mut bench = Bench::with_sent(&["a", "b"]);
        assert_eq!(bench.acknowledge(ack(0, &["s0"])), [(0, Ok("s0".into()))]);
        assert_eq!(bench.acknowledge(ack(0, &["s0"])), []);
        assert_eq!(bench.acknowledge(ack(7, &["s7"])), []);
        assert_eq!(bench.acknowledge(Ack { msg_serial: 9, count: u64::MAX, res: vec![] }), []);
        // An ACK that reaches back over a settled frame assigns results by serial.
        assert_eq!(bench.acknowledge(ack(0, &["s0", "s1"])), [(1, Ok("s1".into()))]);
    }

    #[test]
    fn an_acknowledgement_of_what_is_sent_next_settles_nothing() {
        let mut bench = Bench::with_sent(&["a", "b"]);
        assert_eq!(bench.acknowledge(ack(2, &["s2"])), []);
        assert_eq!(bench.refuse(Nack { msg_serial: 2, count: 1, error: None }), []);
        assert_eq!(bench.refuse(Nack { msg_serial: 7, count: 1, error: None }), []);
        let settled = bench.acknowledge(ack(0, &["s0", "s1"]));
        assert_eq!(settled, [(0, Ok("s0".into())), (1, Ok("s1".into()))]);
    }

    #[test]
    fn a_frame_that_a_nack_passes_over_ends_with_an_error() {
        let mut bench = Bench::with_sent(&["a", "b"]);
        let error = Some(ErrorInfo::new(40160.into(), 401, "denied"));
        let settled = bench.refuse(Nack { msg_serial: 1, count: 1, error });
        assert_eq!(settled, [(0, Err(80013)), (1, Err(40160))]);
    }

    #[test]
    fn a_frame_passed_over_ends_with_an_error() {
        let mut bench = Bench::with_sent(&["a", "b"]);
        let settled = bench.acknowledge(ack(1, &["s1"]));
        assert_eq!(settled, [(0, Err(80013)), (1, Ok("s1".into()))]);
    }

    #[test]
    fn a_nack_gives_each_its_error() {
        let mut bench = Bench::with_sent(&["a", "b", "c"]);
        let error = ErrorInfo::new(40160.into(), 401, "denied");
        let settled = bench.refuse(Nack { msg_serial: 0, count: 2, error: Some(error) });
        assert_eq!(settled, [(0, Err(40160)), (1, Err(40160))]);
        let settled = bench.refuse(Nack { msg_serial: 2, count: 1, error: None });
        assert_eq!(settled, [(2, Err(50000))]);
    }

    #[test]
    fn resuming_keeps_serials_and_sends_whole_messages() {
        let mut bench = Bench::with_sent(&["a", "b", "c"]);
        bench.acknowledge(ack(0, &["s0"]));
        bench.queue(3, "d");
        assert_eq!(bench.resend(true), [(1, "b".into()), (2, "c".into()), (3, "d".into())]);
    }

    #[test]
    fn a_new_connection_starts_serials_again() {
        let mut bench = Bench::with_sent(&["a", "b", "c"]);
        bench.acknowledge(ack(0, &["s0"]));
        bench.queue(3, "d");
        assert_eq!(bench.resend(false), [(0, "b".into()), (1, "c".into()), (2, "d".into())]);
        let settled = bench.acknowledge(ack(0, &["t0", "t1", "t2"]));
        assert_eq!(settled, [(1, Ok("t0".into())), (2, Ok("t1".into())), (3, Ok("t2".into()))]);
    }

    #[test]
    fn failing_ends_sent_and_queued() {
        let mut bench = Bench::with_sent(&["a"]);
        bench.queue(1, "b");
        let settled = bench.act(|outbox, cx| outbox.fail_all(&errors::suspended(), cx));
        assert_eq!(settled, [(0, Err(80002)), (1, Err(80002))]);
        assert!(bench.resend(true).is_empty());
    }

    #[test]
    fn frames_past_their_limit_end_together_when_the_connection_is_another() {
        let mut bench = Bench::with_sent(&["a"]);
        for (op, name, until) in [(1, "b", 9), (2, "c", 20)] {
            let until = Instant::from_start(Duration::from_secs(until));
            let cx = &mut bench.shared.cx(Now::default());
            bench.outbox.send_until(OpId(op), Ok(frame(name)), until, cx);
        }
        bench.shared.outputs.clear();
        let later = Now::at(Instant::from_start(Duration::from_secs(10)), 0);
        bench.outbox.resend(true, &mut bench.shared.cx(later));
        assert_eq!(bench.sent(), [(0, "a".into()), (1, "b".into()), (2, "c".into())], "resumed");

        bench.outbox.resend(false, &mut bench.shared.cx(later));
        let mut outputs = std::mem::take(&mut bench.shared.outputs);
        for expected in [1, 2] {
            match outputs.pop_front() {
                Some(Output::Event(Event::Done(op, outcome))) => {
                    assert_eq!((op.0, readable(outcome)), (expected, Err(50003)));
                }
                other => panic!("not the end of an operation: {other:?}"),
            }
        }
        bench.shared.outputs = outputs;
        assert_eq!(bench.sent(), [(0, "a".into())]);
    }

    #[test]
    fn frames_within_their_limit_are_sent_on_another_connection() {
        let mut bench = Bench::with_sent(&[]);
        let until = Instant::from_start(Duration::from_secs(10));
        let cx = &mut bench.shared.cx(Now::default());
        bench.outbox.send_until(OpId(0), Ok(frame("a")), until, cx);
        bench.shared.outputs.clear();
        let later = Now::at(Instant::from_start(Duration::from_secs(9)), 0);
        bench.outbox.resend(false, &mut bench.shared.cx(later));
        assert_eq!(bench.sent(), [(0, "a".into())]);
    }
}
