//! The service: it answers as the real one does, and sends floods of one frame that it encodes once.
//!
//! A client that attaches to the channel `go:<count>` gets so many messages on the channel `prices`. Each MESSAGE is
//! acknowledged. Frames that have arrived together are acknowledged together.

use std::{io, thread};

use bytes::{Bytes, BytesMut};
use capably_protocol::{
    ChannelMode, ClientFrame, ConnectionDetails, Flags, Format, Limits, Message, PublishResult,
    ServerFrame, codec,
    frame::{Ack, Attached, Connected, Delivery},
    websocket::{Decoder, Event, Kind, Sender, write_message, write_pong},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::handshake::server::{ErrorResponse, Request, Response},
};

pub const PAYLOAD: usize = 100;
const SERIAL: &str = "01726585978590-001@abcdefghij:001";
/// The most bytes of a frame, and about the bytes of a write.
const CHUNK: usize = 64 * 1024;
/// The modes of each attachment, as the service grants them.
const MODES: [ChannelMode; 4] = [
    ChannelMode::Presence,
    ChannelMode::Publish,
    ChannelMode::Subscribe,
    ChannelMode::PresenceSubscribe,
];
/// The action of a MESSAGE.
const MESSAGE: u32 = 15;

/// Starts the service on a thread of its own. Returns its port.
pub fn start() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("service".to_owned()).spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(async {
                    if let Err(error) = serve(stream).await
                        && error.kind() != io::ErrorKind::UnexpectedEof
                        && error.kind() != io::ErrorKind::ConnectionReset
                    {
                        eprintln!("service: {error}");
                    }
                });
            }
            #[expect(unreachable_code, reason = "it gives the block its type")]
            io::Result::Ok(())
        })
    })?;
    Ok(port)
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut format = Format::Json;
    #[expect(clippy::result_large_err, reason = "the library wants this type")]
    let callback = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        if request.uri().query().is_some_and(|query| query.contains("format=msgpack")) {
            format = Format::MsgPack;
        }
        Ok(response)
    };
    let socket = accept_hdr_async(stream, callback).await.map_err(io::Error::other)?;
    // A client sends nothing before CONNECTED, so the socket has read nothing ahead.
    Session { stream: socket.into_inner(), format, out: Vec::new() }.run().await
}

struct Session {
    stream: TcpStream,
    format: Format,
    /// Frames to send.
    out: Vec<u8>,
}

impl Session {
    async fn run(mut self) -> io::Result<()> {
        self.connected();
        let (mut decoder, mut unread) = (Decoder::new(Sender::Client, CHUNK), BytesMut::new());
        loop {
            let mut ack: Option<Ack> = None;
            let mut floods = Vec::new();
            while let Some(event) = decoder.next(&mut unread).map_err(io::Error::other)? {
                match event {
                    Event::Message(_, bytes) if self.is_message(&bytes) => {
                        let ack = ack.get_or_insert_with(|| {
                            let peek = codec::peek(self.format, &bytes);
                            let msg_serial = peek.and_then(|peek| peek.msg_serial);
                            let msg_serial = msg_serial.unwrap_or_default();
                            Ack { msg_serial, count: 0, res: Vec::new() }
                        });
                        ack.count += 1;
                        ack.res.push(PublishResult::new(vec![Some(SERIAL.into())]));
                    }
                    Event::Message(_, bytes) => floods.extend(self.answer(&bytes)?),
                    Event::Ping(payload) => write_pong(&payload, None, &mut self.out),
                    Event::Pong(_) => {}
                    Event::Close(_) => return Ok(()),
                }
            }
            if let Some(ack) = ack {
                self.write(&ServerFrame::Ack(ack));
            }
            self.stream.write_all(&self.out).await?;
            self.out.clear();
            for count in floods {
                self.flood(count).await?;
            }
            unread.reserve(CHUNK);
            if self.stream.read_buf(&mut unread).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Whether a frame is a MESSAGE. JSON is not parsed, which would take longer than some clients need to publish. The
    /// payloads of these benches do not contain such text.
    fn is_message(&self, bytes: &[u8]) -> bool {
        match self.format {
            Format::Json => str::from_utf8(bytes).is_ok_and(|text| {
                text.contains("\"action\":15") || text.contains("\"action\": 15")
            }),
            Format::MsgPack => {
                codec::peek(self.format, bytes).is_some_and(|peek| peek.action == MESSAGE)
            }
        }
    }

    /// Writes the answer to a frame other than MESSAGE. Returns the messages that the client asks for.
    fn answer(&mut self, bytes: &Bytes) -> io::Result<Option<usize>> {
        let frame = codec::decode_client_frame(self.format, bytes, &Limits::default());
        match frame.map_err(io::Error::other)? {
            ClientFrame::Attach(attach) => {
                let count = attach.channel.strip_prefix("go:").and_then(|text| text.parse().ok());
                let flags = Flags::from_iter(MODES);
                let attached = Attached {
                    flags,
                    channel: attach.channel,
                    channel_serial: Some(SERIAL.into()),
                    ..Attached::default()
                };
                self.write(&ServerFrame::Attached(Box::new(attached)));
                return Ok(count);
            }
            ClientFrame::Detach { channel } => {
                self.write(&ServerFrame::Detached { channel, error: None });
            }
            ClientFrame::Heartbeat { id } => self.write(&ServerFrame::Heartbeat { id }),
            ClientFrame::Close => self.write(&ServerFrame::Closed),
            other => return Err(io::Error::other(format!("not in the script: {other:?}"))),
        }
        Ok(None)
    }

    fn connected(&mut self) {
        let details = ConnectionDetails {
            connection_key: Some("AbCdEfGhIj!key".into()),
            max_idle_interval: Some(15_000),
            ..ConnectionDetails::default()
        };
        let connected = Connected {
            connection_id: Some("AbCdEfGhIj".into()),
            details: Some(details),
            error: None,
        };
        self.write(&ServerFrame::Connected(Box::new(connected)));
    }

    fn write(&mut self, frame: &ServerFrame) {
        write(self.format, frame, &mut self.out);
    }

    async fn flood(&mut self, mut count: usize) -> io::Result<()> {
        let mut frame = Vec::new();
        write(self.format, &ServerFrame::Message(delivery()), &mut frame);
        let chunk = frame.repeat(CHUNK / frame.len());
        while count > 0 {
            let frames = count.min(CHUNK / frame.len());
            self.stream.write_all(&chunk[..frames * frame.len()]).await?;
            count -= frames;
        }
        Ok(())
    }
}

/// The message of a flood, with the fields that the service gives it.
fn delivery() -> Delivery<Message> {
    let mut message = Message::new("tick", "x".repeat(PAYLOAD));
    message.serial = Some(SERIAL.into());
    let mut frame = Delivery::new("prices", vec![message]);
    frame.id = Some("AbCdEfGhIj:12345".into());
    frame.connection_id = Some("AbCdEfGhIj".into());
    frame.channel_serial = Some("01726585978590-001@abcdefghij".into());
    frame.timestamp = Some(1_726_585_978_590);
    frame
}

fn write(format: Format, frame: &ServerFrame, out: &mut Vec<u8>) {
    let kind = if format == Format::Json { Kind::Text } else { Kind::Binary };
    write_message(kind, 256, None, out, |out| codec::encode_server_frame(format, frame, out));
}
