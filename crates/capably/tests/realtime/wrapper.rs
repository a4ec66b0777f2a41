//! Clients for the SDKs that are built upon this one (WP).

use capably::{
    realtime::{ChannelState, DeriveOptions, RealtimeChannelOptions},
    rest::WrapperSdkProxyOptions,
};

use crate::{in_both_formats, support::*};

fn wrapper() -> WrapperSdkProxyOptions {
    WrapperSdkProxyOptions::new().agent("wrapper", Some("1.2.3")).agent("flavour", None)
}

in_both_formats! {
    // Spec: RTC14, RTC14a, RTC14b, WP1, WP5, WP7
    async fn channels_of_a_wrapper_name_it_when_they_attach(format) {
        let (client, _service, mut peer) = connected(format).await;
        let wrapped = client.create_wrapper_sdk_proxy(&wrapper()).unwrap();
        let options = RealtimeChannelOptions::new().param("rewind", 1);
        let channel = wrapped.channels().get_with("a", options);
        let attaching = attaching(&channel);
        let attach = peer.attach("a").await;
        attaching.await.unwrap().unwrap();
        let params: Vec<_> = attach.params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(params, [("agent", "wrapper/1.2.3 flavour"), ("rewind", "1")]);
        // It is the same client, with the same connection and the same channels.
        assert_eq!(client.channels().get("a").state(), ChannelState::Attached);
        assert_eq!(client.connection().id(), wrapped.connection().id());

        let attaching = crate::support::attaching(&wrapped.channels().get("b"));
        let attach = peer.attach("b").await;
        attaching.await.unwrap().unwrap();
        assert_eq!(attach.params["agent"], "wrapper/1.2.3 flavour");
        let attaching = crate::support::attaching(&client.channels().get("c"));
        let attach = peer.attach("c").await;
        attaching.await.unwrap().unwrap();
        assert!(attach.params.is_empty());

        // Other options keep the agent; the agent alone causes no new attach.
        channel.set_options(RealtimeChannelOptions::new()).await.unwrap();
        let options = RealtimeChannelOptions::new().param("rewind", 2);
        let (set, attach) = tokio::join!(channel.set_options(options), peer.attach("a"));
        set.unwrap();
        let params: Vec<_> = attach.params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(params, [("agent", "wrapper/1.2.3 flavour"), ("rewind", "2")]);
        // The agent is not part of the name of a derived channel either.
        let derived = wrapped.channels().get_derived("a", DeriveOptions::filter("true"));
        assert_eq!(derived.name(), "[filter=dHJ1ZQ==]a");
    }
}

in_both_formats! {
    // Spec: WP7, WPO2a
    async fn a_wrapper_without_products_is_the_client_itself(format) {
        let (client, _service, mut peer) = connected(format).await;
        let wrapped = client.create_wrapper_sdk_proxy(&WrapperSdkProxyOptions::new()).unwrap();
        let attaching = attaching(&wrapped.channels().get("a"));
        let attach = peer.attach("a").await;
        attaching.await.unwrap().unwrap();
        assert!(attach.params.is_empty());
        let broken = WrapperSdkProxyOptions::new().agent("two words", None);
        assert_eq!(code(client.create_wrapper_sdk_proxy(&broken)), 40000);
    }
}
