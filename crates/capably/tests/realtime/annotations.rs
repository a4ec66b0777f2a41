//! Annotations on a connection (RTAN).

mod publish;
mod subscribe;

use capably::{Annotation, ChannelMode};
use capably_protocol::{
    ClientFrame, ServerFrame,
    frame::{Ack, Delivery, Publish},
};

use crate::support::*;

fn like() -> Annotation {
    Annotation {
        annotation_type: Some("com.example.reaction".into()),
        name: Some("like".into()),
        ..Annotation::default()
    }
}

/// Awaits an ANNOTATION of the client.
async fn annotated(peer: &mut Peer) -> Publish<Annotation> {
    match peer.receive().await {
        Some(ClientFrame::Annotation(publish)) => publish,
        other => panic!("not an ANNOTATION: {other:?}"),
    }
}

/// An ACK of one frame that names no serials.
fn bare_ack(msg_serial: u64) -> ServerFrame {
    ServerFrame::Ack(Ack { msg_serial, count: 1, res: Vec::new() })
}

/// An ANNOTATION.
fn annotations(items: Vec<Annotation>) -> ServerFrame {
    ServerFrame::Annotation(Delivery::new("ch", items))
}

/// Has the service grant these modes to a channel that is attached or attaching.
fn grant(peer: &mut Peer, modes: &[ChannelMode]) {
    let flags = modes.iter().copied().collect();
    peer.send(attached_with("ch", |attached| attached.flags = flags));
}
