//! Strategies for every wire type, and the form of a payload after the codec's encoding rule.

#![allow(dead_code, reason = "each test target uses its own part of these")]

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use capably_protocol::{
    Annotation, AnnotationAction, ClientFrame, ConnectionDetails, Data, ErrorCode, ErrorInfo,
    Flags, Format, JsonObject, Message, MessageAction, MessageAnnotations, MessageVersion,
    ObjectMessage, PresenceAction, PresenceMessage, PublishResult, ServerFrame, Str,
    frame::{
        Ack, Attach, Attached, AuthDetails, Connected, Delivery, ErrorFrame, Nack, Params, Publish,
    },
    object::{
        CounterCreate, CounterCreateWithObjectId, CounterInc, MapClear, MapCreate,
        MapCreateWithObjectId, MapRemove, MapSet, ObjectData, ObjectDelete, ObjectOperation,
        ObjectOperationAction, ObjectState, ObjectValue, ObjectsCounter, ObjectsMap,
        ObjectsMapEntry, ObjectsMapSemantics,
    },
};
use proptest::{collection, option, prelude::*};
use serde_json::Value;

pub(crate) const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

pub(crate) fn text() -> BoxedStrategy<Str> {
    prop_oneof![
        32 => "[a-zA-Z0-9:@/_-]{0,20}",
        8 => any::<String>(),
        4 => "[\\PC]{0,300}",
        1 => Just("a".repeat(70_000)),
    ]
    .prop_map(Str::from)
    .boxed()
}

fn short() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z]{0,8}", "\\PC{0,4}", "[\"\\\\\u{0}-\u{1f}]{0,4}"]
}

fn opt<T: std::fmt::Debug + 'static>(
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    option::of(strategy).boxed()
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("JSON has no such number", |number| number.is_finite()),
        any::<i32>().prop_map(f64::from),
        Just(-0.0),
        Just(9_007_199_254_740_993.0),
    ]
}

fn json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        finite().prop_map(Value::from),
        short().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::btree_map(short(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

fn object() -> impl Strategy<Value = JsonObject> {
    collection::btree_map(short(), json(), 0..20).prop_map(|map| map.into_iter().collect())
}

fn strings() -> impl Strategy<Value = BTreeMap<String, String>> {
    collection::btree_map(short(), short(), 0..4)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        16 => collection::vec(any::<u8>(), 0..40),
        4 => "[a-z]{0,20}".prop_map(String::into_bytes),
        4 => Just(vec![7; 300]),
        1 => Just(vec![0xff; 70_000]),
    ]
    .prop_map(Bytes::from)
}

pub(crate) fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        Just(Data::None),
        text().prop_map(Data::Text),
        bytes().prop_map(Data::Binary),
        json().prop_map(Data::Json),
    ]
}

fn encoding() -> impl Strategy<Value = Option<Str>> {
    let steps = prop_oneof![
        Just(""),
        Just("utf-8"),
        Just("json"),
        Just("custom"),
        Just("json/utf-8/cipher+aes-128-cbc")
    ];
    option::of(steps.prop_map(Str::from_static))
}

prop_compose! {
    fn version()(
        serial in opt(text()),
        timestamp in any::<Option<i64>>(),
        client_id in opt(text()),
        description in opt(text()),
        metadata in opt(strings()),
    ) -> Box<MessageVersion> {
        Box::new(MessageVersion { serial, timestamp, client_id, description, metadata })
    }
}

prop_compose! {
    pub(crate) fn message()(
        ids in (opt(text()), opt(text()), opt(text()), opt(text()), opt(text()), opt(text())),
        data in data(),
        encoding in encoding(),
        timestamp in any::<Option<i64>>(),
        extras in opt(object()),
        action in opt((0..8u32).prop_map(MessageAction::from_number)),
        version in opt(version()),
        summary in opt(collection::btree_map(short(), json(), 0..3)),
    ) -> Message {
        let (id, name, client_id, connection_id, connection_key, serial) = ids;
        let annotations = summary.map(|summary| Box::new(MessageAnnotations { summary }));
        Message {
            id, name, data, encoding, client_id, connection_id, connection_key, timestamp, extras,
            action, serial, version, annotations,
        }
    }
}

prop_compose! {
    pub(crate) fn presence()(
        ids in (opt(text()), opt(text()), opt(text())),
        action in opt((0..7u32).prop_map(PresenceAction::from_number)),
        data in data(),
        encoding in encoding(),
        timestamp in any::<Option<i64>>(),
        extras in opt(object()),
    ) -> PresenceMessage {
        let (id, client_id, connection_id) = ids;
        PresenceMessage { id, action, client_id, connection_id, data, encoding, timestamp, extras }
    }
}

prop_compose! {
    pub(crate) fn annotation()(
        ids in (opt(text()), opt(text()), opt(text()), opt(text())),
        serials in (opt(text()), opt(text()), opt(text())),
        action in opt((0..4u32).prop_map(AnnotationAction::from_number)),
        count in any::<Option<u64>>(),
        data in data(),
        encoding in encoding(),
        timestamp in any::<Option<i64>>(),
        extras in opt(object()),
    ) -> Annotation {
        let (id, client_id, connection_id, name) = ids;
        let (serial, message_serial, annotation_type) = serials;
        Annotation {
            id, action, client_id, connection_id, name, count, data, encoding, timestamp, serial,
            message_serial, annotation_type, extras,
        }
    }
}

pub(crate) fn result() -> impl Strategy<Value = PublishResult> {
    collection::vec(opt(text()), 0..20).prop_map(PublishResult::new)
}

fn object_data() -> impl Strategy<Value = ObjectData> {
    let value = prop_oneof![
        any::<bool>().prop_map(ObjectValue::Boolean),
        bytes().prop_map(ObjectValue::Bytes),
        finite().prop_map(ObjectValue::Number),
        text().prop_map(ObjectValue::String),
        json().prop_map(ObjectValue::Json),
    ];
    (opt(text()), opt(value)).prop_map(|(object_id, value)| ObjectData {
        object_id,
        value,
        encoding: None,
    })
}

fn entry() -> impl Strategy<Value = ObjectsMapEntry> {
    (any::<Option<bool>>(), opt(text()), any::<Option<i64>>(), opt(object_data())).prop_map(
        |(tombstone, timeserial, serial_timestamp, data)| ObjectsMapEntry {
            tombstone,
            timeserial,
            serial_timestamp,
            data,
        },
    )
}

fn entries() -> impl Strategy<Value = BTreeMap<Str, ObjectsMapEntry>> {
    collection::btree_map(short().prop_map(Str::from), entry(), 0..3)
}

fn semantics() -> impl Strategy<Value = Option<ObjectsMapSemantics>> {
    option::of((0..3u32).prop_map(ObjectsMapSemantics::from_number))
}

fn map_create() -> impl Strategy<Value = MapCreate> {
    (semantics(), entries()).prop_map(|(semantics, entries)| MapCreate { semantics, entries })
}

prop_compose! {
    fn operation()(
        action in opt((0..9u32).prop_map(ObjectOperationAction::from_number)),
        object_id in opt(text()),
        map_create in opt(map_create()),
        map_set in opt((text(), object_data()).prop_map(|(key, value)| MapSet { key, value })),
        map_remove in opt(text().prop_map(|key| MapRemove { key })),
        counter_create in opt(opt(finite()).prop_map(|count| CounterCreate { count })),
        counter_inc in opt(opt(finite()).prop_map(|number| CounterInc { number })),
        object_delete in opt(Just(ObjectDelete {})),
        with_id in (opt((text(), text())), opt((text(), text()))),
        map_clear in opt(Just(MapClear {})),
    ) -> ObjectOperation {
        let (map, counter) = with_id;
        ObjectOperation {
            action, object_id, map_create, map_set, map_remove, counter_create, counter_inc,
            object_delete, map_clear,
            map_create_with_object_id: map.map(|(initial_value, nonce)| {
                MapCreateWithObjectId { initial_value, nonce, source: None }
            }),
            counter_create_with_object_id: counter.map(|(initial_value, nonce)| {
                CounterCreateWithObjectId { initial_value, nonce, source: None }
            }),
        }
    }
}

prop_compose! {
    fn state()(
        object_id in opt(text()),
        site_timeserials in collection::btree_map(
            short().prop_map(Str::from), short().prop_map(Str::from), 0..3),
        tombstone in any::<Option<bool>>(),
        create_op in opt(operation()),
        map in opt((semantics(), entries(), opt(text()))),
        counter in opt(opt(finite())),
    ) -> ObjectState {
        ObjectState {
            object_id, site_timeserials, tombstone, create_op,
            map: map.map(|(semantics, entries, clear_timeserial)| {
                ObjectsMap { semantics, entries, clear_timeserial }
            }),
            counter: counter.map(|count| ObjectsCounter { count }),
        }
    }
}

prop_compose! {
    pub(crate) fn object_message()(
        ids in (opt(text()), opt(text()), opt(text()), opt(text()), opt(text())),
        extras in opt(object()),
        timestamps in any::<(Option<i64>, Option<i64>)>(),
        operation in opt(operation().prop_map(Box::new)),
        object in opt(state().prop_map(Box::new)),
    ) -> ObjectMessage {
        let (id, client_id, connection_id, serial, site_code) = ids;
        let (timestamp, serial_timestamp) = timestamps;
        ObjectMessage {
            id, client_id, connection_id, extras, timestamp, operation, object, serial,
            serial_timestamp, site_code,
        }
    }
}

pub(crate) fn error() -> BoxedStrategy<ErrorInfo> {
    let flat = (any::<u32>(), any::<u16>(), text(), opt(text()), opt(text()), strings()).prop_map(
        |(code, status, message, href, request_id, detail)| {
            let mut error = ErrorInfo::new(ErrorCode(code), status, message);
            error.href = href.map(|href| (&*href).into());
            error.request_id = request_id.map(|id| (*id).into());
            error.detail = detail;
            error
        },
    );
    flat.prop_recursive(3, 3, 1, |cause| {
        (Just(ErrorInfo::new(ErrorCode(1), 2, "outer")), cause)
            .prop_map(|(error, cause)| error.with_cause(cause))
    })
    .boxed()
}

prop_compose! {
    fn details()(
        texts in (opt(text()), opt(text()), opt(text()), opt(text())),
        numbers in any::<[Option<u64>; 6]>(),
    ) -> ConnectionDetails {
        let (client_id, connection_key, server_id, site_code) = texts;
        ConnectionDetails {
            client_id, connection_key, server_id, site_code,
            max_message_size: numbers[0],
            max_frame_size: numbers[1],
            max_inbound_rate: numbers[2],
            connection_state_ttl: numbers[3],
            max_idle_interval: numbers[4],
            objects_gc_grace_period: numbers[5],
        }
    }
}

fn params() -> impl Strategy<Value = Params> {
    strings()
}

fn flags() -> impl Strategy<Value = Flags> {
    prop_oneof![Just(Flags::NONE), any::<u64>().prop_map(Flags)]
}

fn publish<T: std::fmt::Debug + 'static>(
    item: impl Strategy<Value = T>,
) -> impl Strategy<Value = Publish<T>> {
    (text(), any::<u64>(), collection::vec(item, 0..3), params()).prop_map(
        |(channel, msg_serial, items, params)| Publish {
            channel,
            msg_serial,
            items: items.into(),
            params,
        },
    )
}

fn delivery<T: std::fmt::Debug>(
    item: impl Strategy<Value = T>,
) -> impl Strategy<Value = Delivery<T>> {
    let texts = (text(), opt(text()), opt(text()), opt(text()));
    (texts, any::<Option<i64>>(), flags(), collection::vec(item, 0..3)).prop_map(
        |((channel, channel_serial, id, connection_id), timestamp, flags, items)| Delivery {
            channel,
            channel_serial,
            id,
            connection_id,
            timestamp,
            flags,
            items,
        },
    )
}

/// Numbers of no client action, or of no service action.
fn unknown(known: &'static [u32]) -> impl Strategy<Value = u32> {
    prop_oneof![0..30u32, any::<u32>()]
        .prop_filter("a known action", |number| !known.contains(number))
}

pub(crate) fn client_frame() -> impl Strategy<Value = ClientFrame> {
    prop_oneof![
        opt(text()).prop_map(|id| ClientFrame::Heartbeat { id }),
        Just(ClientFrame::Close),
        Just(ClientFrame::Disconnect),
        (text(), opt(text()), flags(), params()).prop_map(
            |(channel, channel_serial, flags, params)| {
                ClientFrame::Attach(Attach { channel, channel_serial, flags, params })
            }
        ),
        text().prop_map(|channel| ClientFrame::Detach { channel }),
        text().prop_map(|channel| ClientFrame::Sync { channel }),
        text().prop_map(|channel| ClientFrame::ObjectSync { channel }),
        publish(message()).prop_map(ClientFrame::Message),
        publish(presence()).prop_map(ClientFrame::Presence),
        publish(annotation()).prop_map(ClientFrame::Annotation),
        publish(object_message()).prop_map(ClientFrame::Object),
        text().prop_map(|access_token| ClientFrame::Auth(AuthDetails { access_token })),
        opt(text()).prop_map(|id| ClientFrame::Pong { id }),
        unknown(&[0, 5, 7, 10, 12, 14, 15, 16, 17, 19, 20, 21, 23])
            .prop_map(|action| ClientFrame::Unknown { action }),
    ]
}

pub(crate) fn server_frame() -> impl Strategy<Value = ServerFrame> {
    prop_oneof![
        opt(text()).prop_map(|id| ServerFrame::Heartbeat { id }),
        (any::<u64>(), any::<u64>(), collection::vec(result(), 0..3))
            .prop_map(|(msg_serial, count, res)| ServerFrame::Ack(Ack { msg_serial, count, res })),
        (any::<u64>(), any::<u64>(), opt(error())).prop_map(|(msg_serial, count, error)| {
            ServerFrame::Nack(Nack { msg_serial, count, error })
        }),
        (opt(text()), opt(details()), opt(error())).prop_map(|(connection_id, details, error)| {
            ServerFrame::Connected(Box::new(Connected { connection_id, details, error }))
        }),
        opt(error()).prop_map(|error| ServerFrame::Disconnected { error }),
        Just(ServerFrame::Closed),
        (opt(text()), opt(error()))
            .prop_map(|(channel, error)| ServerFrame::Error(ErrorFrame { channel, error })),
        (text(), opt(text()), flags(), params(), opt(error())).prop_map(
            |(channel, channel_serial, flags, params, error)| {
                ServerFrame::Attached(Box::new(Attached {
                    channel,
                    channel_serial,
                    flags,
                    params,
                    error,
                }))
            }
        ),
        (text(), opt(error()))
            .prop_map(|(channel, error)| ServerFrame::Detached { channel, error }),
        delivery(message()).prop_map(ServerFrame::Message),
        delivery(presence()).prop_map(ServerFrame::Presence),
        delivery(presence()).prop_map(ServerFrame::Sync),
        delivery(annotation()).prop_map(ServerFrame::Annotation),
        delivery(object_message()).prop_map(ServerFrame::Object),
        delivery(object_message()).prop_map(ServerFrame::ObjectSync),
        Just(ServerFrame::Auth),
        opt(text()).prop_map(|id| ServerFrame::Ping { id }),
        unknown(&[0, 1, 2, 4, 6, 8, 9, 11, 13, 14, 15, 16, 17, 19, 20, 21, 22])
            .prop_map(|action| ServerFrame::Unknown { action }),
    ]
}

/// Types with a payload, to which the codec's encoding rule applies.
pub(crate) trait Payload {
    fn payload(&mut self) -> (&mut Data, &mut Option<Str>);

    /// The value after encoding and decoding in this format.
    fn on_the_wire(mut self, format: Format) -> Self
    where
        Self: Sized,
    {
        let (data, encoding) = self.payload();
        let before = encoding.take().filter(|encoding| !encoding.is_empty());
        let step = match (&*data, format) {
            (Data::Json(value), _) => {
                *data = Data::Text(value.to_string().into());
                Some("json")
            }
            (Data::Binary(bytes), Format::Json) => {
                *data = Data::Text(STANDARD.encode(bytes).into());
                Some("base64")
            }
            _ => None,
        };
        *encoding = match (before, step) {
            (before, None) => before,
            (None, Some(step)) => Some(step.into()),
            (Some(before), Some(step)) => Some(format!("{before}/{step}").into()),
        };
        self
    }
}

macro_rules! payload {
    ($($type:ty),*) => {$(
        impl Payload for $type {
            fn payload(&mut self) -> (&mut Data, &mut Option<Str>) {
                (&mut self.data, &mut self.encoding)
            }
        }
    )*};
}
payload!(Message, PresenceMessage, Annotation);

fn published<T: Payload + Clone>(mut publish: Publish<T>, format: Format) -> Publish<T> {
    publish.items = publish.items.iter().map(|item| item.clone().on_the_wire(format)).collect();
    publish
}

fn delivered<T: Payload>(mut delivery: Delivery<T>, format: Format) -> Delivery<T> {
    delivery.items = delivery.items.into_iter().map(|item| item.on_the_wire(format)).collect();
    delivery
}

/// The frame after encoding and decoding in this format.
pub(crate) fn client_on_the_wire(frame: ClientFrame, format: Format) -> ClientFrame {
    match frame {
        ClientFrame::Message(publish) => ClientFrame::Message(published(publish, format)),
        ClientFrame::Presence(publish) => ClientFrame::Presence(published(publish, format)),
        ClientFrame::Annotation(publish) => ClientFrame::Annotation(published(publish, format)),
        other => other,
    }
}

/// The frame after encoding and decoding in this format.
pub(crate) fn server_on_the_wire(frame: ServerFrame, format: Format) -> ServerFrame {
    match frame {
        ServerFrame::Message(delivery) => ServerFrame::Message(delivered(delivery, format)),
        ServerFrame::Presence(delivery) => ServerFrame::Presence(delivered(delivery, format)),
        ServerFrame::Sync(delivery) => ServerFrame::Sync(delivered(delivery, format)),
        ServerFrame::Annotation(delivery) => ServerFrame::Annotation(delivered(delivery, format)),
        other => other,
    }
}
