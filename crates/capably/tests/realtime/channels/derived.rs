//! Derived channels (RTS5).

use std::collections::BTreeMap;

use capably::{
    ChannelMode,
    realtime::{ChannelState, DeriveOptions, RealtimeChannelOptions},
};
use percent_encoding::percent_decode_str;

use crate::{in_both_formats, support::*};

/// The parts of a derived channel's name: the filter, as it is, the parameters, and the channel derived from.
fn parts(name: &str) -> (String, BTreeMap<String, String>, String) {
    let (qualifier, base) = name.strip_prefix("[filter=").unwrap().split_once(']').unwrap();
    let (filter, params) = qualifier.split_once('?').unwrap_or((qualifier, ""));
    let decode = |text| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let params = params.split('&').filter(|param| !param.is_empty()).map(|param| {
        let (name, value) = param.split_once('=').unwrap();
        (decode(name), decode(value))
    });
    (filter.to_owned(), params.collect(), base.to_owned())
}

// UTS: realtime/unit/DO2a/filter-attribute-0
// Spec: DO1, DO2
#[test]
fn derive_options_contain_a_filter() {
    let derive = DeriveOptions::filter("name == 'event' && data.count > 10");
    assert_eq!(derive.filter, "name == 'event' && data.count > 10");
}

in_both_formats! {
    // UTS: realtime/unit/RTS5a/creates-derived-channel-0
    // UTS: realtime/unit/RTS5a1/filter-base64-encoded-0
    async fn the_filter_is_part_of_the_name(format) {
        let (client, _service) = client(format);
        let channels = client.channels();
        let channel = channels.get_derived("news", DeriveOptions::filter("name == 'foo'"));
        assert!(channel.name().starts_with("[filter=") && channel.name().ends_with("]news"));
        let channel = channels.get_derived("news", DeriveOptions::filter("name == 'test'"));
        assert_eq!(channel.name(), "[filter=bmFtZSA9PSAndGVzdCc=]news");
        assert_eq!(channel.state(), ChannelState::Initialized);
        // Equal derivations give the same channel; it differs from other derivations and from the base.
        assert_eq!(channels.all().len(), 2);
        channels.get_derived("news", DeriveOptions::filter("name == 'test'"));
        assert_eq!(channels.all().len(), 2);
        assert!(!channels.exists("news"));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTS5a2/derived-with-params-0
    // UTS: realtime/unit/RTS5/get-derived-with-options-0
    async fn options_are_part_of_the_name_and_apply_to_the_channel(format) {
        let (client, _service) = client(format);
        let derive = || DeriveOptions::filter("type == 'message'");
        let options = RealtimeChannelOptions::new().param("rewind", "1").param("delta", "vcdiff");
        let channel = client.channels().get_derived_with("news", derive(), options);
        let (filter, params, base) = parts(channel.name());
        assert_eq!((filter.as_str(), base.as_str()), ("dHlwZSA9PSAnbWVzc2FnZSc=", "news"));
        assert_eq!((params["rewind"].as_str(), params["delta"].as_str()), ("1", "vcdiff"));
        assert_eq!(params.len(), 2);
        assert_eq!(channel.options().params["rewind"], "1");
        // Only params are part of the name.
        let options = RealtimeChannelOptions::new()
            .modes([ChannelMode::Subscribe])
            .attach_on_subscribe(false);
        let channel =
            client.channels().get_derived_with("news", DeriveOptions::filter("true"), options);
        assert_eq!(channel.name(), "[filter=dHJ1ZQ==]news");
        assert_eq!(channel.options().modes, [ChannelMode::Subscribe]);
        assert!(!channel.options().attach_on_subscribe);
        // The closing bracket is escaped in the filter; params of the base name stay.
        let options = RealtimeChannelOptions::new().param("a]", "b&c=d");
        let channel = client.channels().get_derived_with("[?rewind=2m]ns:x?[y]", derive(), options);
        let (_, params, base) = parts(channel.name());
        assert_eq!(base, "ns:x?[y]");
        assert_eq!((params["rewind"].as_str(), params["a]"].as_str()), ("2m", "b&c=d"));
    }
}

in_both_formats! {
    // Spec: RTS5a, RTS5a1, RTS5a2, RTL4k
    async fn a_derived_channel_attaches_and_delivers_under_its_name(format) {
        let (client, _service, mut peer) = connected(format).await;
        let options = RealtimeChannelOptions::new().param("rewind", 1);
        let derive = DeriveOptions::filter("headers.region == `\"eu\"`");
        let channel = client.channels().get_derived_with("news", derive, options);
        let base = client.channels().get("news");
        let name = channel.name().to_string();
        let service = async {
            let attach = peer.attach(&name).await;
            assert_eq!(attach.params["rewind"], "1");
            peer.send(messages(&name, &["from europe"]));
            peer.send(messages("news", &["for nobody"]));
        };
        let subscribe = async { channel.subscribe().await.unwrap() };
        let (mut subscription, ()) = tokio::join!(subscribe, service);
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("from europe"));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut subscription);
        assert_eq!(base.state(), ChannelState::Initialized);
        client.channels().release(&name);
        peer.expect_detach(&name).await;
    }
}
