//! Clients that only count frames. Their rates are the limit of the service: a peer that comes near is held up by it.

use std::{io, thread, time::Instant};

use bytes::BytesMut;
use capably_protocol::{
    ClientFrame, Format, Limits, Message, ServerFrame, codec,
    frame::{Attach, Publish},
    websocket::{Decoder, Event, Kind, Sender, write_message},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
};
use tokio_tungstenite::client_async;

use crate::service::PAYLOAD;

const MESSAGES: usize = 1_000_000;
const IN_FLIGHT: usize = 1024;
const CHUNK: usize = 64 * 1024;

/// Messages a second, in a thread with its own runtime.
pub fn run(figure: &str, format: Format, port: u16) -> Result<f64, String> {
    let publish = figure == "publish";
    let run = move || -> io::Result<f64> {
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let mut client = Bare::connect(format, port).await?;
            if publish { client.publish().await } else { client.receive().await }
        })
    };
    let rate = thread::spawn(run).join().map_err(|_| "the bare client panicked".to_owned())?;
    rate.map_err(|error| format!("the bare client failed at {figure}: {error}"))
}

struct Bare {
    stream: TcpStream,
    format: Format,
    decoder: Decoder,
    unread: BytesMut,
}

impl Bare {
    async fn connect(format: Format, port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://127.0.0.1:{port}/?format={}", format.name());
        let (mut socket, _) = client_async(url, stream).await.map_err(io::Error::other)?;
        // CONNECTED may have arrived with the answer to the handshake.
        let connected = futures_util::StreamExt::next(&mut socket).await;
        connected.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::other)?;
        let decoder = Decoder::new(Sender::Server, CHUNK);
        Ok(Self { stream: socket.into_inner(), format, decoder, unread: BytesMut::new() })
    }

    async fn receive(&mut self) -> io::Result<f64> {
        let attach = Attach { channel: format!("go:{MESSAGES}").into(), ..Attach::default() };
        self.stream.write_all(&encode(self.format, &ClientFrame::Attach(attach))).await?;
        self.next().await?;
        let start = Instant::now();
        for _ in 0..MESSAGES {
            self.next().await?;
        }
        Ok(MESSAGES as f64 / start.elapsed().as_secs_f64())
    }

    async fn publish(&mut self) -> io::Result<f64> {
        let frame = ClientFrame::Message(Publish {
            channel: "prices".into(),
            msg_serial: 1 << 20,
            items: [Message::new("tick", "x".repeat(PAYLOAD))].into(),
            params: Default::default(),
        });
        let frame = encode(self.format, &frame);
        let all = frame.repeat(IN_FLIGHT);
        let (mut sent, mut acknowledged) = (0, 0);
        let start = Instant::now();
        while acknowledged < MESSAGES {
            let frames = MESSAGES.min(acknowledged + IN_FLIGHT) - sent;
            self.stream.write_all(&all[..frames * frame.len()]).await?;
            sent += frames;
            let bytes = self.next().await?;
            match codec::decode_server_frame(self.format, &bytes, &Limits::default()) {
                Ok(ServerFrame::Ack(ack)) => acknowledged += ack.count as usize,
                other => return Err(io::Error::other(format!("not ACK: {other:?}"))),
            }
        }
        Ok(MESSAGES as f64 / start.elapsed().as_secs_f64())
    }

    async fn next(&mut self) -> io::Result<bytes::Bytes> {
        loop {
            match self.decoder.next(&mut self.unread).map_err(io::Error::other)? {
                Some(Event::Message(_, bytes)) => return Ok(bytes),
                Some(_) => {}
                None => {
                    self.unread.reserve(CHUNK);
                    if self.stream.read_buf(&mut self.unread).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }
}

/// A frame as a client writes it.
fn encode(format: Format, frame: &ClientFrame) -> Vec<u8> {
    let kind = if format == Format::Json { Kind::Text } else { Kind::Binary };
    let mut out = Vec::new();
    write_message(kind, 256, Some([1, 2, 3, 4]), &mut out, |out| {
        codec::encode_client_frame(format, frame, out);
    });
    out
}
