//! Closing a WebSocket of the proxy so that its peer receives all frames that were sent.

use std::io;

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message as WsMessage};

use crate::front::socket::closing::{LINGER, end_stream};

/// Closes a WebSocket so that its peer receives all frames that were sent.
///
/// Bytes from the peer are read and discarded until it closes, too: closing a TCP socket with unread bytes resets it,
/// and the peer would lose frames that it has not read.
pub(super) async fn finish<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    let closing = async {
        // An error means that the WebSocket is closed already.
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

/// As [`finish`], but without a close frame: the peer sees its connection drop.
pub(super) async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    let closing = async {
        if socket.flush().await.is_ok() {
            end_stream(socket.into_inner()).await?;
        }
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, closing).await;
}
