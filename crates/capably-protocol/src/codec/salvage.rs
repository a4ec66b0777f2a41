//! The readable parts of a frame that cannot be read as a whole.
//!
//! The frame is split into its fields and items. Each is read alone, and a new frame is built from those that can be
//! read. This is slow; it is for frames that the ordinary decoder refuses.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    DecodeError, Format, Limits,
    frame::{FIELDS, FrameIn, name},
    json::layout::JsonLayout,
    msgpack::layout::MsgPackLayout,
};
use crate::{ClientFrame, ServerFrame, Str, frame::Action, lenient::MAX_ITEMS};

/// The readable parts of a frame that cannot be read as a whole.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Damaged<F> {
    /// The frame without its unreadable parts; `None` when too little is left of it. When items are missing, the
    /// others have inherited their ids and the like already, by their place among all items.
    pub frame: Option<F>,
    /// The action's number, if it can be read.
    pub action: Option<u32>,
    /// The channel's name, if it can be read.
    pub channel: Option<Str>,
    /// The frame's serial, if it can be read.
    pub msg_serial: Option<u64>,
    /// The gaps between items: for each run of unreadable items, the number of items in `frame` before it. Ascending;
    /// empty when no item is missing.
    pub gaps: Vec<usize>,
}

/// Reads the readable parts of a service's frame that [`decode_server_frame`](super::decode_server_frame) refuses;
/// `None` when the bytes are not a whole value of the format.
///
/// Of a frame that is larger than the limits allow, the items are not read.
pub fn salvage_server_frame(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
) -> Option<Damaged<ServerFrame>> {
    let (mut damaged, places) = salvage(format, bytes, limits, FrameIn::server)?;
    if let (Some(frame), false) = (&mut damaged.frame, damaged.gaps.is_empty()) {
        inherit(frame, &places);
    }
    Some(damaged)
}

/// Reads the readable parts of a client's frame that [`decode_client_frame`](super::decode_client_frame) refuses;
/// `None` when the bytes are not a whole value of the format.
pub fn salvage_client_frame(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
) -> Option<Damaged<ClientFrame>> {
    Some(salvage(format, bytes, limits, FrameIn::client)?.0)
}

/// Splits a REST body that [`decode_items`](super::decode_items) or [`decode_body`](super::decode_body) refuses, so that
/// each item can be read alone. Each item becomes a body: an array of one item.
///
/// `None` when the body is not a whole array of maps, when it is larger than the limits allow, or has too many items.
pub fn split_items(format: Format, bytes: &Bytes, limits: &Limits) -> Option<Vec<Bytes>> {
    if bytes.len() > limits.max_size {
        return None;
    }
    match format {
        Format::Json => split::<JsonLayout>(bytes),
        Format::MsgPack => split::<MsgPackLayout>(bytes),
    }
}

fn split<L: Layout>(bytes: &[u8]) -> Option<Vec<Bytes>> {
    if !L::is_whole(bytes) {
        return None;
    }
    let items = each_element::<L>(bytes, |item| item)?;
    // An item that is no map is not an item of a page; a body of such items has another meaning.
    let are_maps = items.iter().all(|item| L::members(item, &mut |_, _, _| {}));
    are_maps.then(|| items.into_iter().map(|item| L::array(&[item]).into()).collect())
}

/// How a format lays out maps and arrays. Only [`is_whole`](Self::is_whole) gets bytes that may not be whole values.
pub(super) trait Layout {
    /// A map without a member.
    const EMPTY_MAP: &'static [u8];

    /// Whether the bytes are exactly one value. Depth and invalid text do not matter.
    fn is_whole(bytes: &[u8]) -> bool;
    /// Calls `each` with the name of each member, its key as it is written, and its value. Returns false, without a
    /// call, when the bytes are not a map.
    fn members<'a>(map: &'a [u8], each: &mut EachMember<'_, 'a>) -> bool;
    /// Calls `each` with each element. Returns false, without a call, when the bytes are not an array.
    fn elements<'a>(array: &'a [u8], each: &mut dyn FnMut(&'a [u8])) -> bool;
    /// A map of encoded members.
    fn map(members: &[Member<'_>]) -> Vec<u8>;
    /// An array of encoded elements.
    fn array(elements: &[&[u8]]) -> Vec<u8>;
    /// Reads a frame's fields in the ordinary way.
    fn read(bytes: Vec<u8>, limits: &Limits) -> Result<FrameIn, DecodeError>;
}

/// A callback for a member's name, its key as it is written, and its value.
pub(super) type EachMember<'f, 'a> = dyn FnMut(&str, &'a [u8], &'a [u8]) + 'f;

/// A member of a map as it is written: key and value.
pub(super) type Member<'a> = (&'a [u8], Cow<'a, [u8]>);

/// The part of an unreadable field that is salvaged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// Nothing.
    Lost,
    /// Nothing, and the frame is lost with it: without its channel, an error of a channel would be read as an error
    /// of the connection.
    Vital,
    /// The members of a map that can be read.
    Members,
    /// The results of publishes. A result that cannot be read leaves an empty one in its place: results belong to
    /// publishes by their order.
    Results,
    /// The items that can be read, with the gaps between them.
    Items,
}

/// The field that holds the items of a frame with this action.
fn items_field(action: Option<u32>) -> Option<&'static str> {
    Some(match Action::from_number(action?)? {
        Action::Message => name::messages,
        Action::Presence | Action::Sync => name::presence,
        Action::Annotation => name::annotations,
        Action::Object | Action::ObjectSync => name::state,
        _ => return None,
    })
}

fn salvage<F>(
    format: Format,
    bytes: &[u8],
    limits: &Limits,
    make: fn(&mut FrameIn) -> Result<F, DecodeError>,
) -> Option<(Damaged<F>, Vec<usize>)> {
    let Parts { mut fields, intact, gaps, places } = match format {
        Format::Json => readable_parts::<JsonLayout>(bytes, limits)?,
        Format::MsgPack => readable_parts::<MsgPackLayout>(bytes, limits)?,
    };
    let (action, channel, msg_serial) = (fields.action, fields.channel.clone(), fields.msg_serial);
    let frame = intact.then(|| make(&mut fields).ok()).flatten();
    Some((Damaged { frame, action, channel, msg_serial, gaps }, places))
}

/// The readable parts of a frame.
struct Parts {
    fields: FrameIn,
    /// Whether every [vital](Damage::Vital) field can be read.
    intact: bool,
    gaps: Vec<usize>,
    /// The place of each readable item among all items.
    places: Vec<usize>,
}

fn readable_parts<L: Layout>(bytes: &[u8], limits: &Limits) -> Option<Parts> {
    if !L::is_whole(bytes) {
        return None;
    }
    let mut kept: Vec<Member<'_>> = Vec::new();
    let mut intact = true;
    for (name, damage) in FIELDS {
        // Items are read apart, once the action is known: each action has its own.
        if *damage == Damage::Items {
            continue;
        }
        let Some((key, value)) = member::<L>(bytes, name) else { continue };
        if reads::<L>(key, value, limits) {
            kept.push((key, value.into()));
            continue;
        }
        match damage {
            Damage::Lost | Damage::Items => {}
            Damage::Vital => intact = false,
            Damage::Members => {
                kept.push((key, readable_members::<L>(key, value, limits).into()));
            }
            Damage::Results => {
                let results = each_element::<L>(value, |element| {
                    let result = L::array(&[element]);
                    if reads::<L>(key, &result, limits) { element } else { L::EMPTY_MAP }
                });
                kept.push((key, L::array(&results.unwrap_or_default()).into()));
            }
        }
    }
    // The rebuilt frame may repeat the size of the refused one; its parts were each checked against the limits.
    let unlimited = Limits { max_size: usize::MAX, ..*limits };
    let mut fields = L::read(L::map(&kept), &unlimited).ok()?;
    let (mut gaps, mut places) = (Vec::new(), Vec::new());
    if let Some(name) = items_field(fields.action)
        && let Some((key, value)) = member::<L>(bytes, name)
    {
        let items = match bytes.len() <= limits.max_size {
            true if reads::<L>(key, value, limits) => Cow::Borrowed(value),
            true => {
                let items = readable_items::<L>(key, value, limits, &mut gaps, &mut places);
                Cow::Owned(L::array(&items))
            }
            false => {
                gaps.push(0);
                Cow::Owned(L::array(&[]))
            }
        };
        kept.push((key, items));
        fields = L::read(L::map(&kept), &unlimited).ok()?;
    }
    Some(Parts { fields, intact, gaps, places })
}

/// The last member of this name: as in the decoders, a later member replaces an earlier one.
fn member<'a, L: Layout>(map: &'a [u8], name: &str) -> Option<(&'a [u8], &'a [u8])> {
    let mut found = None;
    L::members(map, &mut |own, key, value| {
        if own == name {
            found = Some((key, value));
        }
    });
    found
}

/// Whether a frame with only this member can be read.
fn reads<L: Layout>(key: &[u8], value: &[u8], limits: &Limits) -> bool {
    L::read(L::map(&[(key, value.into())]), limits).is_ok()
}

/// The map that is the value of a field, without the members that cannot be read.
fn readable_members<L: Layout>(key: &[u8], value: &[u8], limits: &Limits) -> Vec<u8> {
    let mut members = Vec::new();
    L::members(value, &mut |_, own, member| {
        let alone = L::map(&[(own, member.into())]);
        if members.len() < MAX_ITEMS && reads::<L>(key, &alone, limits) {
            members.push((own, member.into()));
        }
    });
    L::map(&members)
}

/// The result of `each` for each element; `None` when the bytes are not an array, or an array that is too long.
pub(super) fn each_element<'a, L: Layout>(
    array: &'a [u8],
    mut each: impl FnMut(&'a [u8]) -> &'a [u8],
) -> Option<Vec<&'a [u8]>> {
    let mut elements = Vec::new();
    let mut count = 0_usize;
    let is_array = L::elements(array, &mut |element| {
        count += 1;
        if count <= MAX_ITEMS {
            elements.push(each(element));
        }
    });
    (is_array && count <= MAX_ITEMS).then_some(elements)
}

/// The items that can be read. Adds the gaps between them, and their places.
fn readable_items<'a, L: Layout>(
    key: &[u8],
    array: &'a [u8],
    limits: &Limits,
    gaps: &mut Vec<usize>,
    places: &mut Vec<usize>,
) -> Vec<&'a [u8]> {
    let Some(elements) = each_element::<L>(array, |element| element) else {
        gaps.push(0);
        return Vec::new();
    };
    let mut items = Vec::new();
    for (place, element) in elements.into_iter().enumerate() {
        if reads::<L>(key, &L::array(&[element]), limits) {
            items.push(element);
            places.push(place);
        } else if gaps.last() != Some(&items.len()) {
            gaps.push(items.len());
        }
    }
    items
}

/// Lets the items of a delivery inherit from it, by their places in the frame as it was sent.
fn inherit(frame: &mut ServerFrame, places: &[usize]) {
    macro_rules! inherit {
        ($delivery:ident) => {
            for (item, place) in $delivery.items.iter_mut().zip(places) {
                item.inherit(
                    $delivery.id.as_ref(),
                    *place,
                    $delivery.connection_id.as_ref(),
                    $delivery.timestamp,
                );
            }
        };
    }
    match frame {
        ServerFrame::Message(delivery) => inherit!(delivery),
        ServerFrame::Presence(delivery) | ServerFrame::Sync(delivery) => inherit!(delivery),
        ServerFrame::Annotation(delivery) => inherit!(delivery),
        ServerFrame::Object(delivery) | ServerFrame::ObjectSync(delivery) => inherit!(delivery),
        _ => {}
    }
}
