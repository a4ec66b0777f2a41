//! A response of comet: arrays of frames.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use capably_protocol::{ErrorCode, Format, codec::split_frames};
use futures_core::Stream;
use futures_util::stream;
use serde_json::{Value, json};

use super::lost;
use crate::{
    Error, Result,
    http::{HttpError, HttpResponse, HttpStream},
};

/// The most that is shown of a response that is not from the service, in bytes.
const EXCERPT: usize = 80;

/// A response, which is read array by array. Each is a line; the last may have no line feed.
pub(super) struct Answer {
    status: u16,
    is_json: bool,
    body: Pin<Box<dyn Stream<Item = Result<Bytes, HttpError>> + Send>>,
    /// The piece that is being split into lines.
    piece: Bytes,
    /// The beginning of a line whose end is in a later piece.
    begun: BytesMut,
    max_size: usize,
    is_over: bool,
}

impl Answer {
    pub(super) fn stream(response: HttpStream, max_size: usize) -> Self {
        let is_json = is_json(response.header("Content-Type"));
        let HttpStream { status, body, .. } = response;
        let (piece, begun) = (Bytes::new(), BytesMut::new());
        Self { status, is_json, body, piece, begun, max_size, is_over: false }
    }

    pub(super) fn whole(response: HttpResponse, max_size: usize) -> Self {
        let is_json = is_json(response.header("Content-Type"));
        let HttpResponse { status, body: piece, .. } = response;
        let (body, begun) = (Box::pin(stream::empty()), BytesMut::new());
        Self { status, is_json, body, piece, begun, max_size, is_over: false }
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// The status and all frames of a response that was read as a whole.
    pub(super) fn into_whole(mut self) -> Result<(u16, Vec<Bytes>)> {
        let mut frames = Vec::new();
        while let Some(line) = self.next_line()? {
            frames.extend(self.frames(line)?);
        }
        if !self.begun.is_empty() {
            let line = std::mem::take(&mut self.begun).freeze();
            frames.extend(self.frames(line)?);
        }
        Ok((self.status, frames))
    }

    /// The frames of the next array; `None` at the end of the response.
    ///
    /// # Errors
    /// 80013 for a response that is no array of frames, or an array that is too large; 80003 when the response breaks
    /// off.
    pub(super) fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>>> {
        loop {
            if let Some(line) = self.next_line()? {
                return Poll::Ready(self.frames(line).map(Some));
            }
            if self.is_over {
                let line = std::mem::take(&mut self.begun).freeze();
                let frames = if line.is_empty() { Ok(None) } else { self.frames(line).map(Some) };
                return Poll::Ready(frames);
            }
            match ready!(self.body.as_mut().poll_next(cx)) {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    let message = format!("a response of comet has broken off: {error}");
                    return Poll::Ready(Err(lost(0, message).with_source(error)));
                }
                None => self.is_over = true,
            }
        }
    }

    /// The next line that has ended.
    fn next_line(&mut self) -> Result<Option<Bytes>> {
        let Some(end) = self.piece.iter().position(|byte| *byte == b'\n') else {
            self.begun.extend_from_slice(&self.piece);
            self.piece = Bytes::new();
            return if self.begun.len() > self.max_size { Err(self.too_large()) } else { Ok(None) };
        };
        let line = self.piece.split_to(end);
        self.piece.advance(1);
        if self.begun.is_empty() {
            return Ok(Some(line));
        }
        self.begun.extend_from_slice(&line);
        Ok(Some(std::mem::take(&mut self.begun).freeze()))
    }

    /// The frames in a line. A line may be empty.
    fn frames(&self, line: Bytes) -> Result<Vec<Bytes>> {
        if line.trim_ascii().is_empty() {
            return Ok(Vec::new());
        }
        if line.len() > self.max_size {
            return Err(self.too_large());
        }
        if let Some(frames) = split_frames(Format::Json, &line).filter(|_| self.is_json)
            && str::from_utf8(&line).is_ok()
        {
            return Ok(frames);
        }
        if let Some(frame) = error_frame(&line) {
            return Ok(vec![frame]);
        }
        let beginning = String::from_utf8_lossy(&line[..line.len().min(EXCERPT)]);
        let message = match self.status {
            status @ 400.. => format!("a request of comet got status {status}: {beginning:?}"),
            _ => format!("a response of comet is not from the service: {beginning:?}"),
        };
        Err(match self.status {
            status @ 400.. => lost(status, message),
            status => Error::new(ErrorCode::PROTOCOL_ERROR, status, message),
        })
    }

    fn too_large(&self) -> Error {
        let message =
            format!("an array of frames is larger than the limit of {} bytes", self.max_size);
        Error::new(ErrorCode::PROTOCOL_ERROR, self.status, message)
    }
}

fn is_json(content_type: Option<&str>) -> bool {
    let media_type = content_type.map(|own| own.split(';').next().unwrap_or(own).trim());
    media_type.is_some_and(|own| own.eq_ignore_ascii_case(Format::Json.content_type()))
}

/// The frame for an error that the service has sent in another way: `{"error":{…}}`.
fn error_frame(body: &[u8]) -> Option<Bytes> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error")?;
    let code = error.get("code")?.as_u64()?;
    let may_connect_again = (40_140..40_150).contains(&code) || !(40_000..50_000).contains(&code);
    // Codes after which there is nothing to connect to.
    let is_final = !may_connect_again || matches!(code, 80_015 | 80_017 | 80_030);
    let action = if is_final { 9 } else { 6 };
    Some(json!({"action": action, "error": error}).to_string().into())
}
