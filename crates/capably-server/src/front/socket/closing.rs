//! Ending a WebSocket so that its peer gets all that was sent.

use std::{io, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message as WsMessage};

/// How long a closing socket may take to send what is left, and then to be closed by its peer.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// Closes a socket so that its peer gets all that was sent: closing with unread bytes would take it back.
pub(crate) async fn finish(mut socket: WebSocketStream<TcpStream>) {
    let closing = async {
        // It may be closed already, by either side.
        let _ = socket.send(WsMessage::Close(None)).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                return Ok(());
            }
        }
        end_stream(socket.into_inner()).await
    };
    let _ = timeout(LINGER, closing).await;
}

/// As [`finish`], without a close of the WebSocket.
pub(crate) async fn hang_up(mut socket: WebSocketStream<TcpStream>) {
    let closing = async {
        if socket.flush().await.is_ok() {
            end_stream(socket.into_inner()).await?;
        }
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, closing).await;
}

async fn end_stream(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    // On the heap: an array would be a part of every connection's task from its beginning.
    let mut ignored = vec![0; 4096];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
