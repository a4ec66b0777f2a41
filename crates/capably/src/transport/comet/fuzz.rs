//! A fuzz target of the responses of comet, for the crate in `fuzz/`.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::{future::poll_fn, stream};

use super::answer::Answer;
use crate::{
    Result,
    http::{HttpResponse, HttpStream},
};

/// The most bytes of an array.
const LIMIT: usize = 4096;

/// A response of the service. The first byte chooses its status, its type, and the size of the pieces in which it arrives: the
/// pieces must not change what is read.
pub fn comet(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let status = [200, 401, 500, 201][usize::from(choice % 4)];
    let content_type = if choice & 4 == 0 { "application/json" } else { "text/html" };
    let size = usize::from(choice / 8) + 1;
    let body = Bytes::copy_from_slice(body);
    let whole = HttpResponse::new(status, body.clone()).with_header("Content-Type", content_type);
    let whole = Answer::whole(whole, LIMIT).into_whole();
    let pieces: Vec<_> = body.chunks(size).map(|piece| Ok(body.slice_ref(piece))).collect();
    let mut response = HttpStream::new(status, stream::iter(pieces));
    response.headers.push(("Content-Type".to_owned(), content_type.to_owned()));
    let pieces = read(Answer::stream(response, LIMIT));
    match (whole, pieces) {
        (Ok((_, whole)), Ok(pieces)) => assert_eq!(whole, pieces),
        (Err(whole), Err(pieces)) => assert_eq!(whole.to_string(), pieces.to_string()),
        (whole, pieces) => panic!("{whole:?} as a whole, {pieces:?} in pieces"),
    }
}

/// All frames of a response whose pieces have arrived.
fn read(mut answer: Answer) -> Result<Vec<Bytes>> {
    let mut frames = Vec::new();
    let mut reading = pin!(async {
        while let Some(more) = poll_fn(|cx| answer.poll_frames(cx)).await? {
            frames.extend(more);
        }
        Ok(frames)
    });
    match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits for a piece"),
    }
}
