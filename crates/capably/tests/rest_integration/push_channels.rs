//! The program as a push device (RSH7).

use capably::{
    DeviceDetails, DeviceFormFactor, DevicePlatform, DevicePushDetails, PushChannelSubscription,
    rest::LocalDevice,
};
use serde_json::json;

use crate::in_both_formats;

// UTS: rest/integration/RSH7a/subscribe-unsubscribe-device-0
in_both_formats! {
    async fn a_device_subscribes_and_unsubscribes(app) {
        let rest = app.rest();
        let admin = rest.push().admin();
        let recipient = json!({"transportType": "apns", "deviceToken": "test-apns-token"});
        let device = DeviceDetails {
            id: "test-device-pushchan".into(),
            platform: Some(DevicePlatform::Ios),
            form_factor: Some(DeviceFormFactor::Phone),
            push: DevicePushDetails {
                recipient: recipient.as_object().cloned().unwrap(),
                ..DevicePushDetails::default()
            },
            ..DeviceDetails::default()
        };
        admin.device_registrations().save(&device).await.unwrap();
        rest.set_device(LocalDevice {
            id: device.id.clone(),
            device_identity_token: Some("test-device-identity-token".into()),
            ..LocalDevice::default()
        });
        let name = "pushenabled:test-rsh7a";
        let push = rest.channels().get(name).push();
        push.subscribe_device().await.unwrap();
        let subscriptions = admin.channel_subscriptions();
        let list = || subscriptions.list().channel(name).device_id("test-device-pushchan");
        let expected = PushChannelSubscription::for_device(name, "test-device-pushchan");
        assert_eq!(list().await.unwrap().items(), [expected]);
        assert_eq!(push.list_subscriptions().await.unwrap().items().len(), 1);
        push.unsubscribe_device().await.unwrap();
        assert_eq!(list().await.unwrap().items().len(), 0);
        admin.device_registrations().remove("test-device-pushchan").await.unwrap();
    }
}

// UTS: rest/integration/RSH7b/subscribe-unsubscribe-client-0
in_both_formats! {
    async fn a_client_s_devices_subscribe_and_unsubscribe(app) {
        let rest = app.rest();
        rest.set_device(LocalDevice {
            id: "test-device".into(),
            device_identity_token: Some("test-device-identity-token".into()),
            client_id: Some("test-client-pushchan".into()),
            ..LocalDevice::default()
        });
        let name = "pushenabled:test-rsh7b";
        let push = rest.channels().get(name).push();
        push.subscribe_client().await.unwrap();
        let subscriptions = rest.push().admin().channel_subscriptions();
        let list = || subscriptions.list().channel(name).client_id("test-client-pushchan");
        let expected = PushChannelSubscription::for_client(name, "test-client-pushchan");
        assert_eq!(list().await.unwrap().items(), [expected]);
        assert_eq!(push.list_subscriptions().await.unwrap().items().len(), 1);
        push.unsubscribe_client().await.unwrap();
        assert_eq!(list().await.unwrap().items().len(), 0);
    }
}
