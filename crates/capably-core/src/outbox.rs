//! What is to be acknowledged: sent and waiting for its ACK, or queued until the connection is there
//! (RTN7, RTN19a, RTL6c2).

use std::collections::VecDeque;

use capably_protocol::{ClientFrame, ErrorInfo, PublishResult, frame::Ack, frame::Nack};

use crate::{OpId, errors};

/// A frame that wants an acknowledgement, and the operation it belongs to; none if the client sent it by
/// itself.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) op: Option<OpId>,
    pub(crate) frame: ClientFrame,
}

/// How a frame's story ended.
pub(crate) type Settled = (Entry, Result<PublishResult, ErrorInfo>);

/// Frames in the order of their operations. `sent` holds consecutive serials, ending before
/// `next_serial`.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    sent: VecDeque<Entry>,
    queued: VecDeque<Entry>,
    next_serial: u64,
}

impl Outbox {
    /// One whose first frame has this serial (RTN16f).
    pub(crate) fn starting_at(serial: u64) -> Self {
        Self { next_serial: serial, ..Self::default() }
    }

    /// Keeps a frame until it is acknowledged, and returns it with its serial, to be sent.
    pub(crate) fn send(
        &mut self,
        op: impl Into<Option<OpId>>,
        mut frame: ClientFrame,
    ) -> ClientFrame {
        stamp(&mut frame, self.next_serial);
        self.next_serial += 1;
        self.sent.push_back(Entry { op: op.into(), frame: frame.clone() });
        frame
    }

    /// Keeps a frame until the connection is there.
    pub(crate) fn queue(&mut self, op: OpId, frame: ClientFrame) {
        self.queued.push_back(Entry { op: Some(op), frame });
    }

    /// On a new transport: everything that waits for an acknowledgement again, then what was queued
    /// (RTN19a). If the connection was not resumed, serials start at 0 (RTN11d, RTN15c7, RTN19a2).
    pub(crate) fn resend(&mut self, resumed: bool) -> Vec<ClientFrame> {
        if !resumed {
            self.next_serial = 0;
            for entry in &mut self.sent {
                stamp(&mut entry.frame, self.next_serial);
                self.next_serial += 1;
            }
        }
        let mut frames: Vec<_> = self.sent.iter().map(|entry| entry.frame.clone()).collect();
        while let Some(entry) = self.queued.pop_front() {
            frames.push(self.send(entry.op, entry.frame));
        }
        frames
    }

    /// The operations an ACK settles, in order. A frame before the first acknowledged one will never
    /// hear of its fate: it ends with an error. An ACK of what was never sent settles nothing.
    pub(crate) fn acknowledge(&mut self, ack: Ack, mut settle: impl FnMut(Settled)) {
        if ack.msg_serial >= self.next_serial {
            return;
        }
        self.pass_over(ack.msg_serial, &mut settle);
        // Results belong to serials, so those of frames settled earlier are left out.
        let settled = self.first_serial() - ack.msg_serial;
        let mut results = ack.res.into_iter().skip(usize::try_from(settled).unwrap_or(usize::MAX));
        self.settle_until(ack.msg_serial.saturating_add(ack.count), |entry| {
            settle((entry, Ok(results.next().unwrap_or_default())));
        });
    }

    /// The operations a NACK settles, in order; as for an ACK.
    pub(crate) fn refuse(&mut self, nack: Nack, mut settle: impl FnMut(Settled)) {
        if nack.msg_serial >= self.next_serial {
            return;
        }
        self.pass_over(nack.msg_serial, &mut settle);
        let error = errors::said(nack.error, errors::refused);
        self.settle_until(nack.msg_serial.saturating_add(nack.count), |entry| {
            settle((entry, Err(error.clone())));
        });
    }

    /// Ends everything, sent or queued, with this error (RTN7e).
    pub(crate) fn fail_all(&mut self, error: &ErrorInfo, mut settle: impl FnMut(Settled)) {
        for entry in self.sent.drain(..).chain(self.queued.drain(..)) {
            settle((entry, Err(error.clone())));
        }
    }

    /// The serial of the next frame.
    pub(crate) fn next_serial(&self) -> u64 {
        self.next_serial
    }

    /// Whether something sent waits for its acknowledgement.
    pub(crate) fn awaits_ack(&self) -> bool {
        !self.sent.is_empty()
    }

    fn first_serial(&self) -> u64 {
        self.next_serial - self.sent.len() as u64
    }

    fn pass_over(&mut self, before: u64, settle: &mut impl FnMut(Settled)) {
        self.settle_until(before, |entry| settle((entry, Err(errors::never_acknowledged()))));
    }

    fn settle_until(&mut self, end: u64, mut settle: impl FnMut(Entry)) {
        let count = end.saturating_sub(self.first_serial()).min(self.sent.len() as u64);
        for _ in 0..count {
            if let Some(entry) = self.sent.pop_front() {
                settle(entry);
            }
        }
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
    use capably_protocol::{Message, frame::Publish};

    use super::*;

    fn frame(name: &str) -> ClientFrame {
        ClientFrame::Message(Publish {
            channel: "ch".into(),
            msg_serial: 99,
            items: [Message::new(name, "data")].into(),
            params: Default::default(),
        })
    }

    fn serial(frame: &ClientFrame) -> (u64, String) {
        match frame {
            ClientFrame::Message(publish) => {
                (publish.msg_serial, publish.items[0].name.as_ref().unwrap().to_string())
            }
            other => panic!("not a message: {other:?}"),
        }
    }

    fn sent(names: &[&str]) -> Outbox {
        let mut outbox = Outbox::default();
        for (op, name) in names.iter().enumerate() {
            outbox.send(OpId(op as u64), frame(name));
        }
        outbox
    }

    fn ack(msg_serial: u64, serials: &[&str]) -> Ack {
        let res = serials.iter().map(|s| PublishResult::new(vec![Some((*s).into())])).collect();
        Ack { msg_serial, count: serials.len() as u64, res }
    }

    fn acknowledge(outbox: &mut Outbox, ack: Ack) -> Vec<(u64, Result<String, u32>)> {
        let mut settled = Vec::new();
        outbox.acknowledge(ack, |(entry, result)| settled.push((number(&entry), readable(result))));
        settled
    }

    fn number(entry: &Entry) -> u64 {
        entry.op.expect("every frame here is an operation's").0
    }

    fn readable(result: Result<PublishResult, ErrorInfo>) -> Result<String, u32> {
        match result {
            Ok(result) => {
                Ok(result.serials.first().cloned().flatten().unwrap_or_default().to_string())
            }
            Err(error) => Err(error.code.0),
        }
    }

    #[test]
    fn serials_count_from_zero() {
        let mut outbox = Outbox::default();
        assert_eq!(serial(&outbox.send(OpId(0), frame("a"))), (0, "a".into()));
        assert_eq!(serial(&outbox.send(OpId(1), frame("b"))), (1, "b".into()));
        assert_eq!(outbox.next_serial(), 2);
    }

    #[test]
    fn an_ack_settles_its_range_with_its_results() {
        let mut outbox = sent(&["a", "b", "c"]);
        let settled = acknowledge(&mut outbox, ack(0, &["s0", "s1"]));
        assert_eq!(settled, [(0, Ok("s0".into())), (1, Ok("s1".into()))]);
        assert_eq!(acknowledge(&mut outbox, ack(2, &["s2"])), [(2, Ok("s2".into()))]);
    }

    #[test]
    fn an_ack_repeated_or_from_the_future_settles_nothing_else() {
        let mut outbox = sent(&["a", "b"]);
        assert_eq!(acknowledge(&mut outbox, ack(0, &["s0"])), [(0, Ok("s0".into()))]);
        assert_eq!(acknowledge(&mut outbox, ack(0, &["s0"])), []);
        assert_eq!(acknowledge(&mut outbox, ack(7, &["s7"])), []);
        assert_eq!(
            acknowledge(&mut outbox, Ack { msg_serial: 9, count: u64::MAX, res: vec![] }),
            []
        );
        // One that reaches back over a settled frame keeps results with their serials.
        assert_eq!(acknowledge(&mut outbox, ack(0, &["s0", "s1"])), [(1, Ok("s1".into()))]);
    }

    #[test]
    fn an_acknowledgement_of_what_is_sent_next_settles_nothing() {
        let mut outbox = sent(&["a", "b"]);
        assert_eq!(acknowledge(&mut outbox, ack(2, &["s2"])), []);
        outbox.refuse(Nack { msg_serial: 2, count: 1, error: None }, |(entry, _)| {
            panic!("{entry:?}");
        });
        outbox.refuse(Nack { msg_serial: 7, count: 1, error: None }, |(entry, _)| {
            panic!("{entry:?}");
        });
        let settled = acknowledge(&mut outbox, ack(0, &["s0", "s1"]));
        assert_eq!(settled, [(0, Ok("s0".into())), (1, Ok("s1".into()))]);
    }

    #[test]
    fn a_frame_that_a_nack_passes_over_ends_with_an_error() {
        let mut outbox = sent(&["a", "b"]);
        let mut settled = Vec::new();
        let error = Some(ErrorInfo::new(40160.into(), 401, "denied"));
        outbox.refuse(Nack { msg_serial: 1, count: 1, error }, |(entry, result)| {
            settled.push((number(&entry), readable(result)));
        });
        assert_eq!(settled, [(0, Err(80013)), (1, Err(40160))]);
    }

    #[test]
    fn a_frame_passed_over_ends_with_an_error() {
        let mut outbox = sent(&["a", "b"]);
        let settled = acknowledge(&mut outbox, ack(1, &["s1"]));
        assert_eq!(settled, [(0, Err(80013)), (1, Ok("s1".into()))]);
    }

    #[test]
    fn a_nack_gives_each_its_error() {
        let mut outbox = sent(&["a", "b", "c"]);
        let error = ErrorInfo::new(40160.into(), 401, "denied");
        let mut settled = Vec::new();
        outbox.refuse(Nack { msg_serial: 0, count: 2, error: Some(error) }, |(entry, result)| {
            settled.push((number(&entry), readable(result)));
        });
        assert_eq!(settled, [(0, Err(40160)), (1, Err(40160))]);
        settled.clear();
        outbox.refuse(Nack { msg_serial: 2, count: 1, error: None }, |(entry, result)| {
            settled.push((number(&entry), readable(result)));
        });
        assert_eq!(settled, [(2, Err(50000))]);
    }

    #[test]
    fn resuming_keeps_serials_and_sends_whole_messages() {
        let mut outbox = sent(&["a", "b", "c"]);
        acknowledge(&mut outbox, ack(0, &["s0"]));
        outbox.queue(OpId(3), frame("d"));
        let frames: Vec<_> = outbox.resend(true).iter().map(serial).collect();
        assert_eq!(frames, [(1, "b".into()), (2, "c".into()), (3, "d".into())]);
    }

    #[test]
    fn a_new_connection_starts_serials_again() {
        let mut outbox = sent(&["a", "b", "c"]);
        acknowledge(&mut outbox, ack(0, &["s0"]));
        outbox.queue(OpId(3), frame("d"));
        let frames: Vec<_> = outbox.resend(false).iter().map(serial).collect();
        assert_eq!(frames, [(0, "b".into()), (1, "c".into()), (2, "d".into())]);
        let settled = acknowledge(&mut outbox, ack(0, &["t0", "t1", "t2"]));
        assert_eq!(settled, [(1, Ok("t0".into())), (2, Ok("t1".into())), (3, Ok("t2".into()))]);
    }

    #[test]
    fn failing_ends_sent_and_queued() {
        let mut outbox = sent(&["a"]);
        outbox.queue(OpId(1), frame("b"));
        let mut settled = Vec::new();
        outbox.fail_all(&errors::suspended(), |(entry, result)| {
            settled.push((number(&entry), readable(result)))
        });
        assert_eq!(settled, [(0, Err(80002)), (1, Err(80002))]);
        assert!(outbox.resend(true).is_empty());
    }
}
