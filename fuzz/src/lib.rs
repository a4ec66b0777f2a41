//! Fuzz targets of the decoders that read bytes from outside.
//!
//! A target is a function of bytes. It must end for any bytes, without a panic, and it checks what has to hold of whatever
//! the bytes decode to. The fuzzer runs it (`targets/`), and so does the test of the corpus, with every compiler.

mod frames;
mod objects;
mod payloads;
mod text;
mod websocket;

// The targets of parsers that are private to these crates are there.
pub use capably::fuzz::{comet, link, outbox_file};
pub use capably_server::fuzz::{channel_name, event_stream, filter, query, record, token};
pub use frames::{
    client_frame_json, client_frame_msgpack, frame_batch, rest_body, server_frame_json,
    server_frame_msgpack,
};
pub use objects::objects;
pub use payloads::{payload, vcdiff};
pub use text::text;
pub use websocket::websocket;

/// A target, and the name of its folder in `corpus/`.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("server_frame_json", server_frame_json),
    ("server_frame_msgpack", server_frame_msgpack),
    ("client_frame_json", client_frame_json),
    ("client_frame_msgpack", client_frame_msgpack),
    ("rest_body", rest_body),
    ("payload", payload),
    ("vcdiff", vcdiff),
    ("websocket", websocket),
    ("text", text),
    ("objects", objects),
    ("frame_batch", frame_batch),
    ("token", token),
    ("channel_name", channel_name),
    ("filter", filter),
    ("query", query),
    ("event_stream", event_stream),
    ("record", record),
    ("link", link),
    ("comet", comet),
    ("outbox_file", outbox_file),
];
