//! Positions of members and elements in a MessagePack value, for salvage.

use bytes::Bytes;

use super::{
    super::{
        DecodeError, Limits,
        frame::FrameIn,
        salvage::{EachMember, Layout, Member},
    },
    reader::{Reader, Token},
    whole,
};
use crate::wire::Read;

/// MessagePack, for [`Layout`].
pub(in crate::codec) struct MsgPackLayout;

impl Layout for MsgPackLayout {
    const EMPTY_MAP: &'static [u8] = &[0x80];

    fn is_whole(bytes: &[u8]) -> bool {
        at(bytes, |r| r.step_over().and_then(|()| r.finish()).is_ok())
    }

    fn members<'a>(map: &'a [u8], each: &mut EachMember<'_, 'a>) -> bool {
        at(map, |r| {
            let Ok(Token::Map(count)) = r.token() else { return false };
            for _ in 0..count {
                let (Some(key), Some(value)) = (r.value(), r.value()) else { break };
                let name = at(key, |r| match r.token() {
                    Ok(Token::Str(name) | Token::Bin(name)) => name,
                    _ => b"",
                });
                each(str::from_utf8(name).unwrap_or_default(), key, value);
            }
            true
        })
    }

    fn elements<'a>(array: &'a [u8], each: &mut dyn FnMut(&'a [u8])) -> bool {
        at(array, |r| {
            let Ok(Token::Array(count)) = r.token() else { return false };
            for _ in 0..count {
                let Some(element) = r.value() else { break };
                each(element);
            }
            true
        })
    }

    fn map(members: &[Member<'_>]) -> Vec<u8> {
        let mut out = header(0xdf, members.len());
        for (key, value) in members {
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        }
        out
    }

    fn array(elements: &[&[u8]]) -> Vec<u8> {
        let mut out = header(0xdd, elements.len());
        elements.iter().for_each(|element| out.extend_from_slice(element));
        out
    }

    fn read(bytes: Vec<u8>, limits: &Limits) -> Result<FrameIn, DecodeError> {
        whole(&bytes.into(), limits, |r| {
            let mut frame = FrameIn::default();
            frame.read(r)?;
            Ok(frame)
        })
    }
}

/// Calls `with` with a reader at the start of the bytes.
fn at<'a, T>(bytes: &'a [u8], with: impl FnOnce(&mut Reader<'a>) -> T) -> T {
    // Text and payloads would be slices of the frame; stepping over values makes none.
    static NO_FRAME: Bytes = Bytes::new();
    with(&mut Reader::new(&NO_FRAME, bytes, &Limits::default()))
}

fn header(marker: u8, count: usize) -> Vec<u8> {
    // Counts come from frames, whose own headers have 32 bits.
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    [&[marker][..], &count.to_be_bytes()].concat()
}
