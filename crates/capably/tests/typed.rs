//! Typed channels against the embedded server, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/embedded.rs"]
mod embedded;

use std::{collections::BTreeMap, error::Error as _};

use capably::{
    Data, Message, Plugin, PresenceAction, PresenceMessage, Realtime, Rest,
    crypto::generate_random_key,
    plugin::Vcdiff,
    realtime::{MessageFilter, RealtimeChannelOptions},
    rest::Direction,
    typed::{DecodeError, PayloadFormat, TypedEvent},
};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::json;

use embedded::{client, in_both_formats, options, options_with_mutable_messages, server, within};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Open,
    Paid { cents: u64 },
}

fn order(count: u32) -> Order {
    Order { item: "tea".into(), count, state: Some(State::Paid { cents: 350 }) }
}

in_both_formats!(
    async fn an_item_of_the_wrong_type_is_an_error_of_that_item_only(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("orders");
        let orders = channel.typed::<Order>();
        let mut received = orders.subscribe().await.unwrap();
        orders.publish("created", &order(1)).await.unwrap();
        let wrong: [Data; 5] = [
            "two teas".into(),
            Data::from(vec![1u8, 2]),
            Data::Json(json!({ "item": "tea" })),
            Data::Json(json!([1, 2])),
            Data::None,
        ];
        for data in wrong.clone() {
            channel.publish("created", data).await.unwrap();
        }
        orders.publish_data(&order(2)).await.unwrap();

        let first = within(received.next()).await.unwrap().unwrap();
        assert_eq!(first.value, order(1));
        assert_eq!(first.message.name.as_deref(), Some("created"));
        for data in &wrong {
            let DecodeError { error, message, .. } =
                within(received.next()).await.unwrap().unwrap_err();
            assert_eq!((error.code().0, error.status()), (40013, Some(400)));
            assert_eq!(message.data, *data);
            assert!(message.serial.is_some());
        }
        let last = within(received.next()).await.unwrap().unwrap();
        assert_eq!((last.value, last.message.name), (order(2), None));

        // The pages of history keep their good items, and say what the others are.
        let page = orders.history().direction(Direction::Forwards).await.unwrap();
        let values: Vec<_> = page.items().iter().map(|order| order.value.count).collect();
        assert_eq!(values, [1, 2]);
        assert_eq!(page.unreadable().len(), wrong.len());
        for (unreadable, data) in page.unreadable().iter().zip(&wrong) {
            assert_eq!((unreadable.index, unreadable.error.code().0), (1, 40013));
            let source = unreadable.error.source().unwrap();
            assert_eq!(source.downcast_ref::<DecodeError>().unwrap().message.data, *data);
        }
        let items: Vec<_> = page.items_stream().map(|item| item.is_ok()).collect().await;
        assert_eq!(items, [true, false, false, false, false, false, true]);
    }
);

in_both_formats!(
    async fn hostile_payloads_are_errors_of_their_items_and_later_ones_arrive(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("hostile");
        let orders = channel.typed::<Order>();
        let packed = channel.typed::<Order>().format(PayloadFormat::MessagePack);
        let mut received = orders.subscribe().await.unwrap();
        let mut received_packed = packed.subscribe().await.unwrap();
        let deep = |open: &str, close: &str| open.repeat(5_000) + &close.repeat(5_000);
        let whole = rmp_serde::to_vec_named(&order(1)).unwrap();
        let hostile: Vec<Data> = vec![
            r#"{"item":"tea","cou"#.into(),
            r#"{"item":"tea","count":1e400}"#.into(),
            r#"{"item":"tea","count":99999999999999999999999}"#.into(),
            r#"{"item":"tea","count":1} and more"#.into(),
            deep("[", "]").into(),
            deep(r#"{"item":"#, "}").into(),
            Data::Json(json!({ "item": "tea", "count": -1 })),
            Data::Json(json!({ "item": "tea", "count": 1.5 })),
            Data::Json(json!({ "item": "tea", "count": u64::MAX })),
            Data::Json(json!({ "item": null, "count": 1 })),
            Data::Json(json!({ "item": "tea", "count": 1, "state": { "Stolen": {} } })),
            // Truncated MessagePack; a list and a text that claim 4 GiB; a value of no type.
            whole[..whole.len() - 1].to_vec().into(),
            vec![0xdd, 0xff, 0xff, 0xff, 0xff].into(),
            vec![0xdb, 0xff, 0xff, 0xff, 0xff, b'x'].into(),
            vec![0xc1].into(),
            Vec::<u8>::new().into(),
        ];
        for data in hostile.clone() {
            channel.publish_data(data).await.unwrap();
        }
        orders.publish_data(&order(2)).await.unwrap();
        for data in &hostile {
            for received in [&mut received, &mut received_packed] {
                let wrong = within(received.next()).await.unwrap().unwrap_err();
                assert_eq!(wrong.error.code().0, 40013, "{data:?}");
                assert_eq!(wrong.message.data, *data);
            }
        }
        assert_eq!(within(received.next()).await.unwrap().unwrap().value, order(2));
        assert_eq!(within(received_packed.next()).await.unwrap().unwrap().value, order(2));
        let page = orders.history().await.unwrap();
        assert_eq!((page.items().len(), page.unreadable().len()), (1, hostile.len()));
    }
);

in_both_formats!(
    async fn items_with_another_key_are_errors_and_later_ones_arrive(binary) {
        let server = server().await;
        let (writer, reader) = (client(&server, binary).await, client(&server, binary).await);
        let secret = |number: u8| RealtimeChannelOptions::with_cipher_key(vec![number; 32]).unwrap();
        let reading = reader.channels().get_with("secret", secret(1));
        let mut received = reading.typed::<Order>().subscribe().await.unwrap();
        let mut events = reading.presence().typed::<Order>().subscribe().await.unwrap();
        let writing = writer.channels().get_with("secret", secret(2));
        writing.typed().publish_data(&order(1)).await.unwrap();
        writing.presence().typed().enter_client("ada", &order(1)).await.unwrap();
        writing.set_options(secret(1)).await.unwrap();
        writing.typed().publish_data(&order(2)).await.unwrap();
        writing.presence().typed().update_client("ada", &order(2)).await.unwrap();

        let wrong = within(received.next()).await.unwrap().unwrap_err();
        assert_eq!(wrong.error.code().0, 40013);
        // With another key, the padding is right once in 256 times. What is left then is no text.
        let left = ["`json/utf-8`", "cipher+aes-256-cbc"];
        let message = wrong.error.message();
        assert!(left.iter().any(|left| message.contains(left)), "{message}");
        assert_eq!(within(received.next()).await.unwrap().unwrap().value, order(2));
        let wrong = within(events.next()).await.unwrap().unwrap_err();
        assert_eq!(wrong.error.code().0, 40013);
        assert_eq!(wrong.message.client_id.as_deref(), Some("ada"));
        assert_eq!(within(events.next()).await.unwrap().unwrap().value, order(2));
    }
);

in_both_formats!(
    async fn a_value_that_cannot_be_serialized_is_refused_and_nothing_is_sent(binary) {
        let server = server().await;
        let client = Realtime::connect(options(&server, binary).client_id("ada")).await.unwrap();
        let channel = client.channels().get("refused");
        let mut received = channel.subscribe().await.unwrap();
        // The keys of a JSON object are strings.
        let by_place = BTreeMap::from([((1, 2), "here")]);
        let places = channel.typed::<BTreeMap<(u8, u8), &str>>();
        let rest = client.rest().channels().get("refused");
        let presence = channel.presence().typed::<BTreeMap<(u8, u8), &str>>();
        for error in [
            places.publish("place", &by_place).await.unwrap_err(),
            places.publish_data(&by_place).submit().await.unwrap_err(),
            places.message("place", &by_place).unwrap_err(),
            rest.typed().publish("place", &by_place).await.unwrap_err(),
            rest.typed().publish_data(&by_place).await.unwrap_err(),
            presence.enter(&by_place).await.unwrap_err(),
            channel.typed::<u32>().publish("n", &7).await.unwrap_err(),
            channel.typed::<bool>().publish("n", &true).await.unwrap_err(),
        ] {
            assert_eq!((error.code().0, error.status()), (40013, Some(400)), "{error}");
            assert!(error.remediation().is_some());
        }
        channel.publish("n", "the only one").await.unwrap();
        let message = within(received.next()).await.unwrap();
        assert_eq!(message.data.as_str(), Some("the only one"));
        assert_eq!(channel.history().await.unwrap().items().len(), 1);
        assert!(channel.presence().get().await.unwrap().is_empty());
    }
);

in_both_formats!(
    /// What other SDKs see, and what they send.
    async fn values_travel_as_the_payloads_of_other_sdks(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("payloads");
        let mut plain = channel.subscribe().await.unwrap();
        let texts = channel.typed::<String>();
        let states = channel.typed::<State>();
        let lists = channel.typed::<Vec<u8>>();
        let maybe = channel.typed::<Option<Order>>();
        texts.publish_data(&"text".to_owned()).await.unwrap();
        states.publish_data(&State::Open).await.unwrap();
        states.publish_data(&State::Paid { cents: 5 }).await.unwrap();
        lists.publish_data(&vec![1, 2]).await.unwrap();
        maybe.publish_data(&None).await.unwrap();
        channel.publish_data(Data::from(vec![3u8, 4])).await.unwrap();
        channel.publish_data(r#"{"item":"as text","count":1}"#).await.unwrap();
        let mut messages = Vec::new();
        for _ in 0..7 {
            messages.push(within(plain.next()).await.unwrap());
        }
        let data: Vec<_> = messages.iter().map(|message| message.data.clone()).collect();
        assert_eq!(
            data[..5],
            [
                "text".into(),
                "Open".into(),
                Data::Json(json!({ "Paid": { "cents": 5 } })),
                Data::Json(json!([1, 2])),
                Data::None,
            ]
        );
        let message = |at: usize| messages[at].clone();
        assert_eq!(texts.decode(message(0)).unwrap().value, "text");
        assert_eq!(states.decode(message(1)).unwrap().value, State::Open);
        assert_eq!(states.decode(message(2)).unwrap().value, State::Paid { cents: 5 });
        assert_eq!(lists.decode(message(3)).unwrap().value, [1, 2]);
        assert_eq!(maybe.decode(message(4)).unwrap().value, None);
        assert_eq!(lists.decode(message(5)).unwrap().value, [3, 4]);
        assert_eq!(maybe.decode(message(6)).unwrap().value.unwrap().item, "as text");
        assert_eq!(texts.decode(message(6)).unwrap().value, r#"{"item":"as text","count":1}"#);
    }
);

in_both_formats!(
    async fn messagepack_payloads_are_binary_and_json_is_read_all_the_same(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let channel = client.channels().get("binary");
        let numbers = channel.typed::<u32>().format(PayloadFormat::MessagePack);
        let orders = channel.typed::<Order>().format(PayloadFormat::MessagePack);
        let mut received = orders.subscribe().await.unwrap();
        orders.publish("order", &order(1)).await.unwrap();
        channel.typed::<Order>().publish("order", &order(2)).await.unwrap();
        numbers.publish("number", &7).await.unwrap();
        let first = within(received.next()).await.unwrap().unwrap();
        assert_eq!(first.value, order(1));
        assert!(first.message.data.as_bytes().unwrap().len() < 60);
        assert_eq!(within(received.next()).await.unwrap().unwrap().value, order(2));
        let wrong = within(received.next()).await.unwrap().unwrap_err();
        assert_eq!(wrong.error.code().0, 40013);
        assert_eq!(numbers.decode(*wrong.message).unwrap().value, 7);
    }
);

in_both_formats!(
    async fn encryption_filters_extras_and_deltas_work_with_types(binary) {
        let server = server().await;
        let with_deltas = options(&server, binary).plugin(Plugin::vcdiff(Vcdiff));
        let client = Realtime::connect(with_deltas).await.unwrap();
        let key = generate_random_key(None).unwrap();
        let secret = RealtimeChannelOptions::with_cipher_key(key).unwrap();
        let orders = client.channels().get_with("secret", secret).typed::<Order>();
        let filter = MessageFilter::new().name("created").is_ref(true);
        let mut selected = orders.subscribe().filter(filter).await.unwrap();
        let mut other = orders.subscribe().name("other").listen();
        other.attached().await.unwrap();
        let extras = json!({ "ref": { "type": "order", "timeserial": "1" } });
        orders.publish("created", &order(1)).await.unwrap();
        orders.publish("created", &order(2)).extras(extras.clone()).await.unwrap();
        orders.publish("other", &order(3)).id("own-id").await.unwrap();
        let found = within(selected.next()).await.unwrap().unwrap();
        assert_eq!(found.value, order(2));
        assert_eq!(found.message.extras.unwrap()["ref"], extras["ref"]);
        let other = within(other.next_event()).await.unwrap();
        let TypedEvent::Message(Ok(other)) = other else { panic!("not a message: {other:?}") };
        assert_eq!((other.value, other.message.id.as_deref()), (order(3), Some("own-id")));
        assert_eq!(orders.history().limit(1).await.unwrap().items()[0].value, order(3));

        // Without the key there is no value, and the error says so.
        let blind = Rest::new(options(&server, binary)).unwrap();
        let page = blind.channels().get("secret").typed::<Order>().history().await.unwrap();
        assert_eq!((page.items().len(), page.unreadable().len()), (0, 3));
        let error = &page.unreadable()[0].error;
        assert!(error.message().contains("cipher+aes-256-cbc"), "{error}");

        let deltas = RealtimeChannelOptions::new().param("delta", "vcdiff");
        let orders = client.channels().get_with("deltas", deltas).typed::<Order>();
        let mut received = orders.subscribe().await.unwrap();
        for count in 0..5 {
            let long = Order { item: "tea ".repeat(200), ..order(count) };
            orders.publish("created", &long).await.unwrap();
            assert_eq!(within(received.next()).await.unwrap().unwrap().value, long);
        }
    }
);

in_both_formats!(
    async fn rest_channels_are_typed(binary) {
        let server = server().await;
        let rest = Rest::new(options_with_mutable_messages(&server, binary).await).unwrap();
        let channel = rest.channels().get("mutable:orders");
        let orders = channel.typed::<Order>();
        let published = orders.publish("created", &order(1)).client_id("ada").await.unwrap();
        let serial = published.serials[0].clone().unwrap();
        let found = orders.get_message(&*serial).await.unwrap();
        assert_eq!(found.value, order(1));
        assert_eq!(found.message.client_id.as_deref(), Some("ada"));

        let changed = orders.message("created", &order(2)).unwrap();
        channel.update_message(Message { serial: Some(serial.clone()), ..changed }).await.unwrap();
        assert_eq!(orders.history().await.unwrap().items()[0].value, order(2));
        let error = channel.typed::<u8>().get_message(&*serial).await.unwrap_err();
        assert_eq!(error.code().0, 40013);
        let message = &error.source().unwrap().downcast_ref::<DecodeError>().unwrap().message;
        assert_eq!(message.name.as_deref(), Some("created"));
    }
);

in_both_formats!(
    async fn presence_data_is_typed(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let room = client.channels().get("room");
        let orders = room.presence().typed::<Order>();
        let mut events = orders.subscribe().action(PresenceAction::Enter).await.unwrap();
        orders.enter_client("ada", &order(1)).await.unwrap();
        room.presence().enter_client("bo").data("no order").await.unwrap();
        let entered = within(events.next()).await.unwrap().unwrap();
        assert_eq!((entered.value, entered.message.client_id.as_deref()), (order(1), Some("ada")));
        let wrong = within(events.next()).await.unwrap().unwrap_err();
        assert_eq!(wrong.message.client_id.as_deref(), Some("bo"));
        let members = orders.get().await.unwrap();
        let values: Vec<_> = members
            .into_iter()
            .map(|member| member.map(|member| member.value).map_err(|wrong| wrong.message.data))
            .collect();
        assert_eq!(values, [Ok(order(1)), Err("no order".into())]);

        let page = orders.history().direction(Direction::Forwards).limit(10).await.unwrap();
        let entered = &page.items()[0];
        assert_eq!((&entered.value, entered.message.client_id.as_deref()), (&order(1), Some("ada")));
        let source = page.unreadable()[0].error.source().unwrap();
        let wrong: &DecodeError<PresenceMessage> = source.downcast_ref().unwrap();
        assert_eq!(wrong.message.client_id.as_deref(), Some("bo"));
    }
);

in_both_formats!(
    async fn a_typed_callback_gets_values_and_errors(binary) {
        let server = server().await;
        let client = client(&server, binary).await;
        let orders = client.channels().get("callbacks").typed::<Order>();
        let (sender, mut counts) = tokio::sync::mpsc::unbounded_channel();
        let _callback = orders
            .subscribe()
            .await
            .unwrap()
            .each(move |order| {
                let count = order.map(|order| order.value.count);
                sender.send(count.map_err(|wrong| wrong.error.code().0)).unwrap();
            })
            .unwrap();
        orders.publish("n", &order(1)).await.unwrap();
        orders.channel().publish("n", "wrong").await.unwrap();
        orders.publish("n", &order(2)).await.unwrap();
        for expected in [Ok(1), Err(40013), Ok(2)] {
            assert_eq!(within(counts.recv()).await, Some(expected));
        }
    }
);
