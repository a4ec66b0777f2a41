//! The frames of a client, as they arrive.

use capably_protocol::{
    Annotation, ChannelMode, ClientFrame, ErrorInfo, Message, ServerFrame, Str, frame::Publish,
};

use super::{
    Connection,
    ack::{Acks, Outcome},
};
use crate::hub::{
    App, Now, Output, Settings, TransportId,
    access::capability::Operation,
    channel::{Channels, attach, name as channel_name},
    error,
    log::payload::take_items,
    log::volume::Volume,
    message::{
        annotation,
        change::is_change,
        ephemeral::{self, EPHEMERAL},
        publish::{self, Accepted, Publisher},
    },
    presence,
    stats::tally::Way,
};

impl App {
    /// Frames have arrived, in this order. Those of a transport that has been replaced are dropped.
    pub(crate) fn receive(
        &mut self,
        transport: TransportId,
        frames: &mut Vec<ClientFrame>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let connection =
            self.transports.get(&transport).and_then(|id| self.connections.get_mut(id));
        let Some(mut connection) = connection else {
            frames.clear();
            return;
        };
        let mut acks = Acks::new(transport);
        let (mut inbound, mut said) = (Volume::default(), Volume::default());
        let sent = outputs.len();
        let mut ended = false;
        for frame in frames.drain(..) {
            if let Some((error, msg_serial)) = too_fast(connection, &frame, &self.settings, now) {
                let refused = |_: &Connection| Err(error);
                let (_, outcome) = receive_once(connection, msg_serial, &mut inbound, refused);
                if connection.acknowledges(msg_serial) {
                    acks.add(msg_serial, outcome, outputs);
                }
                continue;
            }
            let (msg_serial, outcome) = match frame {
                ClientFrame::Message(publish) => {
                    receive_once(connection, publish.msg_serial, &mut inbound, |it| {
                        publish_messages(
                            it,
                            &mut self.channels,
                            publish,
                            &self.settings,
                            now,
                            outputs,
                        )
                    })
                }
                ClientFrame::Annotation(publish) => {
                    receive_once(connection, publish.msg_serial, &mut inbound, |it| {
                        annotate(it, &mut self.channels, publish, &self.settings, now, outputs)
                    })
                }
                ClientFrame::Presence(publish) => {
                    let msg_serial = publish.msg_serial;
                    let handled = presence::say(
                        connection,
                        &mut self.presence,
                        &mut self.channels,
                        publish,
                        &self.settings,
                        now,
                        outputs,
                    );
                    receive_once(connection, msg_serial, &mut said, |_| handled)
                }
                ClientFrame::Object(publish) => {
                    receive_once(connection, publish.msg_serial, &mut inbound, |_| {
                        Err(error::not_supported("objects are"))
                    })
                }
                other => {
                    acks.flush(outputs);
                    match other {
                        ClientFrame::Heartbeat { id } => {
                            outputs.push(Output::Frame(transport, ServerFrame::Heartbeat { id }));
                        }
                        ClientFrame::Attach(frame) => attach::attach(
                            connection,
                            &mut self.channels,
                            &mut self.presence,
                            transport,
                            frame,
                            now,
                            outputs,
                        ),
                        ClientFrame::Detach { channel } => {
                            let (presence, channels) = (&mut self.presence, &mut self.channels);
                            let name = &channel;
                            attach::detach(
                                connection, channels, presence, transport, name, now, outputs,
                            );
                            let frame = ServerFrame::Detached { channel, error: None };
                            outputs.push(Output::Frame(transport, frame));
                        }
                        ClientFrame::Sync { channel } => {
                            let presence = &mut self.presence;
                            attach::sync(connection, presence, transport, channel, outputs);
                        }
                        ClientFrame::Auth(auth) => {
                            ended = !self.receive_auth(transport, &auth, now, outputs);
                            let found = self
                                .transports
                                .get(&transport)
                                .and_then(|id| self.connections.get_mut(id));
                            match found {
                                Some(found) => connection = found,
                                None => break,
                            }
                        }
                        ClientFrame::Close => {
                            outputs.push(Output::Frame(transport, ServerFrame::Closed));
                            ended = true;
                        }
                        ClientFrame::Disconnect => {
                            let frame = ServerFrame::Disconnected { error: None };
                            outputs.push(Output::Frame(transport, frame));
                            outputs.push(Output::Close(transport));
                        }
                        _ => {}
                    }
                    if ended {
                        break;
                    }
                    continue;
                }
            };
            if connection.acknowledges(msg_serial) {
                acks.add(msg_serial, outcome, outputs);
            }
        }
        acks.flush(outputs);
        if ended {
            outputs.push(Output::Close(transport));
            self.end_transport(transport, now, outputs);
        }
        self.stats.current(now).presence(said);
        self.count_publish(Way::Realtime, inbound, &outputs[sent..], now);
        self.channels.make_room(outputs);
        self.tell_occupancy(now, outputs);
    }
}

/// Why a new frame comes too early, and its serial.
fn too_fast(
    connection: &mut Connection,
    frame: &ClientFrame,
    settings: &Settings,
    now: Now,
) -> Option<(ErrorInfo, u64)> {
    let (msg_serial, count) = match frame {
        ClientFrame::Message(publish) => (publish.msg_serial, publish.items.len()),
        ClientFrame::Presence(publish) => (publish.msg_serial, publish.items.len()),
        ClientFrame::Annotation(publish) => (publish.msg_serial, publish.items.len()),
        _ => return None,
    };
    if msg_serial < connection.next_msg_serial {
        return None;
    }
    if let ClientFrame::Message(publish) = frame
        && let Ok(channel) = channel_name::plain(&publish.channel)
        && let Some(rate) = connection.identity.rate_of_attachment(channel)
        && !connection.channel_paces.admit(channel, count, rate, now.steady)
    {
        return Some((error::attachment_too_fast(rate), msg_serial));
    }
    let rate = settings.max_inbound_rate?;
    let fits = connection.pace.admit(count, rate, now.steady);
    (!fits).then(|| (error::too_fast(rate), msg_serial))
}

/// Handles a frame that is to be acknowledged, and adds what it publishes to `inbound`; one that was
/// handled before gets the same answer, and has no effect again.
pub(crate) fn receive_once(
    connection: &mut Connection,
    msg_serial: u64,
    inbound: &mut Volume,
    handle: impl FnOnce(&Connection) -> Result<Accepted, ErrorInfo>,
) -> (u64, Outcome) {
    if msg_serial < connection.next_msg_serial {
        return (msg_serial, connection.outcomes.get(msg_serial));
    }
    let handled = handle(connection);
    if let Ok(accepted) = &handled {
        inbound.add(accepted.volume());
    }
    let outcome = Outcome::from(handled);
    connection.next_msg_serial = msg_serial.saturating_add(1);
    connection.outcomes.add(msg_serial, &outcome);
    (msg_serial, outcome)
}

fn publish_messages(
    connection: &Connection,
    channels: &mut Channels,
    publish: Publish<Message>,
    settings: &Settings,
    now: Now,
    outputs: &mut Vec<Output>,
) -> Result<Accepted, ErrorInfo> {
    let Publish { channel, msg_serial, items, params } = publish;
    error::unless_forced(params.get("_forceNack").map(String::as_str))?;
    let mut messages = take_items(items);
    ephemeral::mark(params.get(EPHEMERAL).map(String::as_str), &mut messages)?;
    // A change needs a right of its own, which is checked with it.
    if !messages.first().is_some_and(is_change) {
        require_mode(connection, &channel, ChannelMode::Publish, Operation::Publish)?;
    }
    publish::publish(
        channels,
        &channel,
        messages,
        publisher(connection, msg_serial),
        settings.max_message_size,
        now,
        outputs,
    )
}

fn annotate(
    connection: &Connection,
    channels: &mut Channels,
    publish: Publish<Annotation>,
    settings: &Settings,
    now: Now,
    outputs: &mut Vec<Output>,
) -> Result<Accepted, ErrorInfo> {
    let Publish { channel, msg_serial, items, params } = publish;
    error::unless_forced(params.get("_forceNack").map(String::as_str))?;
    let mode = ChannelMode::AnnotationPublish;
    require_mode(connection, &channel, mode, Operation::AnnotationPublish)?;
    annotation::annotate(
        channels,
        &channel,
        take_items(items),
        publisher(connection, msg_serial),
        settings.max_message_size,
        now,
        outputs,
    )
}

/// Checks that the connection's attachment to the channel, if it has one, has the mode.
///
/// # Errors
/// Code 40160 when the credentials do not allow what the mode is for, 40165 when it was not asked for.
fn require_mode(
    connection: &Connection,
    channel: &Str,
    mode: ChannelMode,
    operation: Operation,
) -> Result<(), ErrorInfo> {
    let Some(attachment) = connection.attached.get(channel) else { return Ok(()) };
    if attachment.granted.contains(mode.flag()) {
        return Ok(());
    }
    connection.identity.require(attachment.resource(channel), operation)?;
    Err(error::mode_missing(mode.name()))
}

fn publisher(connection: &Connection, msg_serial: u64) -> Publisher<'_> {
    Publisher {
        identity: &connection.identity,
        connection: Some(&connection.id),
        frame_id: Some(frame_id(&connection.id, msg_serial)),
    }
}

/// `connectionId:msgSerial`, from which the messages' ids derive.
fn frame_id(connection: &str, msg_serial: u64) -> Str {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = msg_serial;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let mut id = Vec::with_capacity(connection.len() + 1 + digits.len() - start);
    id.extend_from_slice(connection.as_bytes());
    id.push(b':');
    id.extend_from_slice(&digits[start..]);
    Str::try_from(id).expect("an id and digits are UTF-8")
}
