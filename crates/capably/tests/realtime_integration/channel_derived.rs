//! Derived channels, whose messages the service selects.

use capably::realtime::{DeriveOptions, RealtimeChannelOptions};
use serde_json::json;

use crate::{app::in_both_formats, support::within};

// Spec: RTS5, RTS5a, RTS5a1, RTS5a2, DO2a
in_both_formats! {
    async fn a_derived_channel_delivers_the_matching_messages(app) {
        let key = app.key(5);
        let (publisher, subscriber) = tokio::join!(
            app.realtime(),
            app.realtime_with(|options| options.key(key)),
        );
        let base = publisher.channels().get("derived");
        let european = || DeriveOptions::filter("name == `\"price\"` && headers.region == `\"eu\"`");
        let publish = async |name: &'static str, region: &'static str, data: &'static str| {
            let extras = json!({ "headers": { "region": region } });
            let extras = extras.as_object().unwrap().clone();
            base.publish(name, data).extras(extras).await.unwrap();
        };
        let mut messages =
            subscriber.channels().get_derived("derived", european()).subscribe().await.unwrap();
        publish("price", "us", "1").await;
        publish("price", "eu", "2").await;
        publish("trade", "eu", "3").await;
        base.publish("price", "4").await.unwrap();
        publish("price", "eu", "5").await;
        for data in ["2", "5"] {
            assert_eq!(within(messages.next()).await.unwrap().data.as_str(), Some(data));
        }
        // With params, it is another channel of the same messages.
        let options = RealtimeChannelOptions::new().param("rewind", 1);
        let rewound = subscriber.channels().get_derived_with("derived", european(), options);
        let mut messages = rewound.subscribe().await.unwrap();
        assert_eq!(within(messages.next()).await.unwrap().data.as_str(), Some("5"));
        tokio::join!(publisher.close(), subscriber.close());
    }
}
