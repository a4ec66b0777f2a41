//! A client that shares the objects of a channel.

use std::sync::Arc;

use capably_objects::{NewIds, Objects, Path, SyncState};
use capably_protocol::{
    ChannelMode, ClientFrame, Flags, Format, ObjectMessage, ServerFrame,
    frame::{Attach, Connected, Delivery, Params, Publish},
};
use capably_server::Server;
use serde_json::Value;

use super::support::Client;

pub(crate) fn ids() -> NewIds<impl FnMut() -> [u8; 16]> {
    NewIds::new(1_700_000_000_000, || fastrand::u128(..).to_be_bytes())
}

/// A client that is attached to a channel for its objects, and has them.
pub(crate) struct Sharer {
    pub(crate) client: Client,
    pub(crate) connected: Connected,
    channel: &'static str,
    pub(crate) objects: Objects,
    msg_serial: u64,
}

impl Sharer {
    pub(crate) async fn join(server: &Server, format: Format, channel: &'static str) -> Self {
        let query = format!("echo=false&key={}", server.key());
        let mut client = Client::open(server, format, &query).await;
        let ServerFrame::Connected(connected) = client.next().await else { panic!("no CONNECTED") };
        let modes =
            Params::from([("modes".to_owned(), "object_subscribe,object_publish".to_owned())]);
        let attach = Attach { channel: channel.into(), params: modes, ..Attach::default() };
        let attached = client.attach_with(attach).await;
        let modes = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
        assert_eq!(attached.flags.modes(), modes);
        assert_eq!(attached.params["modes"], "object_subscribe,object_publish");
        assert!(attached.flags.contains(Flags::HAS_OBJECTS));
        let mut objects = Objects::new(channel);
        objects.attached(true, 0, &mut Vec::new());
        let mut sharer = Self { client, connected: *connected, channel, objects, msg_serial: 0 };
        while sharer.objects.state() != SyncState::Synced {
            let ServerFrame::ObjectSync(Delivery { channel_serial, items, .. }) =
                sharer.client.next().await
            else {
                panic!("no OBJECT_SYNC")
            };
            let serial = channel_serial.as_deref();
            sharer.objects.sync_frame(serial, items, 0, &mut Vec::new());
        }
        sharer
    }

    pub(crate) async fn send(&mut self, items: Vec<ObjectMessage>) -> u64 {
        let frame = ClientFrame::Object(Publish {
            channel: self.channel.into(),
            msg_serial: self.msg_serial,
            items: Arc::from(items),
            params: Params::new(),
        });
        self.client.send(&frame).await;
        self.msg_serial += 1;
        self.msg_serial - 1
    }

    /// The serial of a frame that the test sends by itself.
    pub(crate) fn skip_serial(&mut self) -> u64 {
        self.msg_serial += 1;
        self.msg_serial - 1
    }

    /// Receives and applies an OBJECT.
    pub(crate) async fn receive(&mut self) -> Delivery<ObjectMessage> {
        let ServerFrame::Object(delivery) = self.client.next().await else { panic!("no OBJECT") };
        self.objects.object_frame(delivery.items.clone(), 0, &mut Vec::new());
        delivery
    }

    pub(crate) fn value(&self) -> Value {
        self.objects.pool().resolve(&Path::root()).unwrap().compact_json()
    }
}
