//! Derived channels, parameters in a name, and occupancy.

use capably::{
    Channel, ErrorCode, Message, Realtime, Subscription,
    realtime::{ChannelState, ConnectionState, DeriveOptions, RealtimeChannelOptions},
};
use serde_json::{Value, json};

use crate::{
    app::{App, in_both_formats},
    support::within,
};

/// A client of the key for channels with a qualifier, too.
async fn everywhere(app: &App) -> Realtime {
    app.realtime_with(|own| own.key(app.key(5))).await
}

async fn publish(channel: &Channel, name: &str, number: u64, data: &str) {
    let extras = json!({"headers": {"number": number}}).as_object().cloned();
    channel.publish_message(Message { extras, ..Message::new(name, data) }).await.unwrap();
}

async fn texts<const N: usize>(messages: &mut Subscription) -> [String; N] {
    let mut texts = [const { String::new() }; N];
    for text in &mut texts {
        *text = within(messages.next()).await.unwrap().data.as_str().unwrap().to_owned();
    }
    texts
}

// Spec: RTS5, RTS5a1, RTS5a2, DO2a
in_both_formats! {
    async fn a_derived_channel_delivers_the_matching_messages(app) {
        let client = everywhere(&app).await;
        let channel = client.channels().get("derived");
        let filter = || DeriveOptions::filter("name == `\"in\"` && headers.number == `26095`");
        let derived = client.channels().get_derived("derived", filter());
        let mut messages = derived.subscribe().await.unwrap();
        publish(&channel, "in", 26095, "first").await;
        publish(&channel, "in", 26094, "another number").await;
        publish(&channel, "out", 26095, "another name").await;
        channel.publish("in", "no headers").await.unwrap();
        publish(&channel, "in", 26095, "last").await;
        assert_eq!(texts(&mut messages).await, ["first", "last"]);

        let options = RealtimeChannelOptions::new().param("rewind", "2");
        let rewound = client.channels().get_derived_with("derived", filter(), options);
        let mut messages = rewound.subscribe().await.unwrap();
        assert_eq!(texts(&mut messages).await, ["first", "last"]);
        let rewound = client.channels().get("[?rewind=1]derived");
        let mut messages = rewound.subscribe().await.unwrap();
        assert_eq!(texts(&mut messages).await, ["last"]);
        // A publish to the derived channel goes to the base channel.
        publish(&rewound, "in", 26095, "more").await;
        assert_eq!(texts(&mut messages).await, ["more"]);
        client.close().await;
    }
}

// Spec: RTS5a1
in_both_formats! {
    async fn a_malformed_filter_fails_only_its_channel(app) {
        let client = everywhere(&app).await;
        let derived = client.channels().get_derived("a", DeriveOptions::filter("name =="));
        let error = within(async { derived.attach().await }).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode(40010));
        assert_eq!(derived.state(), ChannelState::Failed);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        client.close().await;
    }
}

in_both_formats! {
    async fn occupancy_arrives_in_messages(app) {
        let client = app.realtime_with(|own| own.key(app.key(0))).await;
        let options = RealtimeChannelOptions::new().param("occupancy", "metrics.presenceMembers");
        let channel = client.channels().get_with("occupied", options);
        let mut messages = channel.subscribe().await.unwrap();
        channel.presence().enter_client("me").await.unwrap();
        for members in [0, 1] {
            let message = within(messages.next()).await.unwrap();
            assert_eq!(message.name.as_deref(), Some("[meta]occupancy"));
            let told: Value = message.json().unwrap();
            assert_eq!(told, json!({"metrics": {"presenceMembers": members}}));
        }
        client.close().await;
    }
}

in_both_formats! {
    async fn a_metachannel_tells_which_channels_are_opened(app) {
        let observer = everywhere(&app).await;
        let metachannel = observer.channels().get("[meta]channel.lifecycle");
        let mut opened = metachannel.subscribe().name("channel.opened").await.unwrap();
        let mut occupied = metachannel.subscribe().name("channel.occupancy").await.unwrap();
        let client = app.realtime_with(|own| own.key(app.key(0))).await;
        client.channels().get("opened").attach().await.unwrap();
        let event = within(opened.next()).await.unwrap();
        let details: Value = event.json().unwrap();
        assert_eq!(details["channelId"], "opened");
        let event = within(occupied.next()).await.unwrap();
        let details: Value = event.json().unwrap();
        assert_eq!(details["status"]["occupancy"]["metrics"]["connections"], 1);
        let refused = within(async { metachannel.publish("channel.opened", "x").await }).await;
        assert_eq!(refused.unwrap_err().code(), ErrorCode(40160));
        client.close().await;
        observer.close().await;
    }
}
