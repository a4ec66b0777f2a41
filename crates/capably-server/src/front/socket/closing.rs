//! Closing a socket so that its peer receives all bytes that were sent.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long a closing socket may take to send the rest, and to be closed by its peer.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// Ends a stream so that its peer receives all bytes that were sent: closing a TCP socket with unread bytes resets it, so
/// what the peer sends is read and discarded until it ends the stream, too.
pub(crate) async fn end_stream(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    // On the heap: an array would take its space in the task of every connection from its start.
    let mut ignored = vec![0; 4096];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
