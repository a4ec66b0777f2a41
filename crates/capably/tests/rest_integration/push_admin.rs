//! The administration of push notifications (RSH1).

use std::slice::from_ref;

use capably::{
    DeviceDetails, DeviceFormFactor, DevicePlatform, DevicePushDetails, DevicePushState,
    JsonObject, PushChannelSubscription,
    http::HttpMethod,
    rest::{PushFilter, PushRecipient},
};
use serde_json::{Value, json};

use crate::{in_both_formats, support::pushed};

fn recipient(value: Value) -> JsonObject {
    value.as_object().cloned().unwrap()
}

fn apns(token: &str) -> JsonObject {
    recipient(json!({"transportType": "apns", "deviceToken": token}))
}

fn phone(id: &str, recipient: JsonObject) -> DeviceDetails {
    DeviceDetails {
        id: id.into(),
        platform: Some(DevicePlatform::Ios),
        form_factor: Some(DeviceFormFactor::Phone),
        push: DevicePushDetails { recipient, ..DevicePushDetails::default() },
        ..DeviceDetails::default()
    }
}

fn phone_of(id: &str, client_id: &str) -> DeviceDetails {
    DeviceDetails { client_id: Some(client_id.into()), ..phone(id, apns("token")) }
}

/// Status and code of a refused call.
async fn refusal<T: std::fmt::Debug>(
    refused: impl Future<Output = capably::Result<T>>,
) -> (u16, u32) {
    let error = refused.await.unwrap_err();
    (error.status().unwrap(), error.code().0)
}

// UTS: rest/integration/RSH1a/push-publish-clientid-0
in_both_formats! {
    async fn pushes_to_a_client(app) {
        let notification = json!({"title": "Integration Test", "body": "Hello from push admin"});
        let payload = json!({"notification": notification});
        let recipient = PushRecipient::client("test-client-push");
        app.rest().push().admin().publish(recipient, payload).await.unwrap();
    }
}

// UTS: rest/integration/RSH1a/push-publish-invalid-recipient-1
in_both_formats! {
    async fn refuses_a_push_without_a_recipient(app) {
        let rest = app.rest();
        let admin = rest.push().admin();
        let payload = json!({"notification": {"title": "Test"}});
        let refused = refusal(admin.publish(json!({}), payload.clone())).await;
        assert_eq!(refused, (400, 40000));
        // The client refused these; the service refuses invalid ones, too.
        let pigeon = json!({"transportType": "pigeon"});
        assert_eq!(refusal(admin.publish(pigeon, payload)).await, (400, 40000));
        let nobody = json!({"recipient": {}, "notification": {"title": "Test"}});
        let response = rest.request(HttpMethod::Post, "/push/publish").body(nobody).await.unwrap();
        assert_eq!((response.status(), response.error_code().map(|it| it.0)), (400, Some(40000)));
    }
}

// UTS: rest/integration/RSH1b3/save-and-get-device-0
in_both_formats! {
    async fn saves_and_fetches_a_device(app) {
        let devices = app.rest().push().admin().device_registrations();
        let device = phone("test-device", apns("test-token"));
        let saved = devices.save(&device).await.unwrap();
        assert_eq!(&*saved.id, "test-device");
        assert_eq!(saved.platform, Some(DevicePlatform::Ios));
        assert_eq!(saved.form_factor, Some(DeviceFormFactor::Phone));
        assert_eq!(saved.push.recipient["transportType"], "apns");
        assert_eq!(saved.push.state, Some(DevicePushState::Active));
        assert_eq!(devices.get("test-device").await.unwrap(), saved);
        devices.remove("test-device").await.unwrap();
    }
}

// UTS: rest/integration/RSH1b3/update-device-registration-1
in_both_formats! {
    async fn saving_a_device_again_changes_it(app) {
        let devices = app.rest().push().admin().device_registrations();
        devices.save(&phone("test-device-update", apns("token-v1"))).await.unwrap();
        let updated = devices.save(&phone("test-device-update", apns("token-v2"))).await.unwrap();
        assert_eq!(&*updated.id, "test-device-update");
        assert_eq!(updated.push.recipient["deviceToken"], "token-v2");
        let read = devices.get("test-device-update").await.unwrap();
        assert_eq!(read.push.recipient["deviceToken"], "token-v2");
        devices.remove("test-device-update").await.unwrap();
    }
}

// Spec: RSH1b3, RSH1c3
in_both_formats! {
    async fn an_invalid_device_is_an_error(app) {
        let admin = app.rest().push().admin();
        let devices = admin.device_registrations();
        let nowhere = phone("test-device", JsonObject::new());
        assert_eq!(refusal(devices.save(&nowhere)).await, (400, 40000));
        let unknown = DevicePlatform::Unknown("amiga".into());
        let amiga = DeviceDetails { platform: Some(unknown), ..phone("test-device", apns("t")) };
        assert_eq!(refusal(devices.save(&amiga)).await, (400, 40000));

        let subscriptions = admin.channel_subscriptions();
        let of_nobody = PushChannelSubscription::for_device("pushenabled:a", "nobody");
        assert_eq!(refusal(subscriptions.save(&of_nobody)).await, (404, 40400));
        let without_push = PushChannelSubscription::for_client("persisted:a", "ada");
        assert_eq!(refusal(subscriptions.save(&without_push)).await, (401, 40160));
    }
}

// UTS: rest/integration/RSH1b1/get-unknown-device-error-0
in_both_formats! {
    async fn an_unknown_device_is_not_found(app) {
        let devices = app.rest().push().admin().device_registrations();
        assert_eq!(refusal(devices.get("nonexistent-device")).await, (404, 40400));
    }
}

// UTS: rest/integration/RSH1b2/list-devices-filtered-0
in_both_formats! {
    async fn lists_a_device_by_its_id(app) {
        let devices = app.rest().push().admin().device_registrations();
        let gcm = json!({"transportType": "gcm", "registrationToken": "test-token"});
        let tablet = DeviceDetails {
            platform: Some(DevicePlatform::Android),
            form_factor: Some(DeviceFormFactor::Tablet),
            ..phone("test-device-list", recipient(gcm))
        };
        devices.save(&tablet).await.unwrap();
        devices.save(&phone("another", apns("token"))).await.unwrap();
        let page = devices.list().device_id("test-device-list").await.unwrap();
        assert_eq!(page.items().len(), 1);
        assert_eq!(&*page.items()[0].id, "test-device-list");
        assert_eq!(page.items()[0].platform, Some(DevicePlatform::Android));
        devices.remove("test-device-list").await.unwrap();
    }
}

// UTS: rest/integration/RSH1b2/list-devices-pagination-1
in_both_formats! {
    async fn lists_devices_in_pages(app) {
        let devices = app.rest().push().admin().device_registrations();
        for id in ["test-device-1", "test-device-2", "test-device-3"] {
            devices.save(&phone_of(id, "test-client-list")).await.unwrap();
        }
        devices.save(&phone_of("another", "another-client")).await.unwrap();
        let page = devices.list().client_id("test-client-list").limit(2).await.unwrap();
        assert_eq!(page.items().len(), 2);
        assert!(page.has_next());
        let last = page.next().await.unwrap().expect("a second page");
        assert_eq!(last.items().len(), 1);
        assert!(last.is_last());
        for id in ["test-device-1", "test-device-2", "test-device-3"] {
            devices.remove(id).await.unwrap();
        }
        assert_eq!(devices.list().await.unwrap().items().len(), 1);
    }
}

// UTS: rest/integration/RSH1b4/remove-device-0
in_both_formats! {
    async fn removes_a_device(app) {
        let devices = app.rest().push().admin().device_registrations();
        devices.save(&phone("test-device-remove", apns("test-token"))).await.unwrap();
        devices.remove("test-device-remove").await.unwrap();
        assert_eq!(refusal(devices.get("test-device-remove")).await, (404, 40400));
    }
}

// UTS: rest/integration/RSH1b4/remove-nonexistent-device-1
in_both_formats! {
    async fn removing_an_unknown_device_is_no_error(app) {
        let devices = app.rest().push().admin().device_registrations();
        devices.remove("nonexistent-device").await.unwrap();
        devices.remove_where(&PushFilter::new().client_id("nobody")).await.unwrap();
    }
}

// UTS: rest/integration/RSH1b5/remove-where-clientid-0
in_both_formats! {
    async fn removes_the_devices_of_a_client(app) {
        let devices = app.rest().push().admin().device_registrations();
        for id in ["test-device-1", "test-device-2"] {
            devices.save(&phone_of(id, "test-client")).await.unwrap();
        }
        devices.save(&phone_of("another", "another-client")).await.unwrap();
        devices.remove_where(&PushFilter::new().client_id("test-client")).await.unwrap();
        let page = devices.list().client_id("test-client").await.unwrap();
        assert_eq!(page.items().len(), 0);
        devices.get("another").await.unwrap();
        devices.remove_where(&PushFilter::new().device_id("another")).await.unwrap();
        assert_eq!(devices.list().await.unwrap().items().len(), 0);
    }
}

// UTS: rest/integration/RSH1c3/save-and-list-subscriptions-0
in_both_formats! {
    async fn saves_a_subscription_of_a_device_and_lists_it(app) {
        let admin = app.rest().push().admin();
        let (devices, subscriptions) =
            (admin.device_registrations(), admin.channel_subscriptions());
        devices.save(&phone("test-device-sub", apns("test-token"))).await.unwrap();
        let channel = "pushenabled:test-sub";
        let subscription = PushChannelSubscription::for_device(channel, "test-device-sub");
        for _ in 0..2 {
            let saved = subscriptions.save(&subscription).await.unwrap();
            assert_eq!(saved.channel(), channel);
            assert_eq!(saved.device_id(), Some("test-device-sub"));
        }
        let page = subscriptions.list().channel(channel).await.unwrap();
        assert_eq!(page.items(), from_ref(&subscription));
        subscriptions.remove(&subscription).await.unwrap();
        devices.remove("test-device-sub").await.unwrap();
    }
}

// UTS: rest/integration/RSH1c3/save-subscription-clientid-1
in_both_formats! {
    async fn saves_a_subscription_of_a_client(app) {
        let subscriptions = app.rest().push().admin().channel_subscriptions();
        let channel = "pushenabled:test-clientsub";
        let subscription = PushChannelSubscription::for_client(channel, "test-client-sub");
        let saved = subscriptions.save(&subscription).await.unwrap();
        assert_eq!(saved.channel(), channel);
        assert_eq!(saved.client_id(), Some("test-client-sub"));
        subscriptions.remove(&subscription).await.unwrap();
    }
}

// UTS: rest/integration/RSH1c2/list-channels-with-subscriptions-0
in_both_formats! {
    async fn lists_the_channels_that_have_subscriptions(app) {
        let subscriptions = app.rest().push().admin().channel_subscriptions();
        let channel = "pushenabled:test-listchannels";
        let subscription = PushChannelSubscription::for_client(channel, "test-client-lc");
        subscriptions.save(&subscription).await.unwrap();
        let page = subscriptions.list_channels().await.unwrap();
        assert_eq!(page.items(), [channel]);
        subscriptions.remove(&subscription).await.unwrap();
        assert_eq!(subscriptions.list_channels().await.unwrap().items().len(), 0);
    }
}

// UTS: rest/integration/RSH1c4/remove-channel-subscription-0
in_both_formats! {
    async fn removes_a_subscription(app) {
        let subscriptions = app.rest().push().admin().channel_subscriptions();
        let channel = "pushenabled:test-remove";
        let subscription = PushChannelSubscription::for_client(channel, "test-client-rm");
        let other = PushChannelSubscription::for_client(channel, "another-client");
        subscriptions.save(&subscription).await.unwrap();
        subscriptions.save(&other).await.unwrap();
        subscriptions.remove(&subscription).await.unwrap();
        let list = subscriptions.list().channel(channel).client_id("test-client-rm");
        assert_eq!(list.await.unwrap().items().len(), 0);
        assert_eq!(subscriptions.list().await.unwrap().items(), [other]);
    }
}

// UTS: rest/integration/RSH1c4/remove-nonexistent-subscription-1
in_both_formats! {
    async fn removing_an_unknown_subscription_is_no_error(app) {
        let subscriptions = app.rest().push().admin().channel_subscriptions();
        let channel = "pushenabled:nonexistent";
        let subscription = PushChannelSubscription::for_client(channel, "nonexistent-client");
        subscriptions.remove(&subscription).await.unwrap();
        subscriptions.remove_where(&PushFilter::new().client_id("nobody")).await.unwrap();
    }
}

// UTS: rest/integration/RSH1c5/remove-where-subscriptions-0
in_both_formats! {
    async fn removes_the_subscriptions_of_a_client(app) {
        let subscriptions = app.rest().push().admin().channel_subscriptions();
        let of = |channel: &str, client_id: &str| {
            PushChannelSubscription::for_client(format!("pushenabled:{channel}"), client_id)
        };
        for subscription in [of("a", "test-client"), of("b", "test-client"), of("a", "another")] {
            subscriptions.save(&subscription).await.unwrap();
        }
        subscriptions.remove_where(&PushFilter::new().client_id("test-client")).await.unwrap();
        let page = subscriptions.list().client_id("test-client").await.unwrap();
        assert_eq!(page.items().len(), 0);
        assert_eq!(subscriptions.list().await.unwrap().items(), [of("a", "another")]);
    }
}

// Spec: RSH1, RSH1a, RSH1b, RSH1c
in_both_formats! {
    async fn a_push_is_published_to_a_channel(app) {
        let rest = app.rest();
        let admin = rest.push().admin();
        let address = |channel: &str| {
            recipient(json!({
                "transportType": "ablyChannel", "channel": channel, "ablyKey": app.key(0),
                "ablyUrl": format!("http://{}", app.server.local_addr()),
            }))
        };
        for device in ["d1", "d2"] {
            let mut phone = phone(device, address(device));
            phone.client_id = Some("ada".into());
            admin.device_registrations().save(&phone).await.unwrap();
        }
        let payload = |title: &str| json!({"notification": {"title": title}, "data": {"a": "ü"}});
        admin.publish(address("direct"), payload("1")).await.unwrap();
        admin.publish(PushRecipient::device("d1"), payload("2")).await.unwrap();
        admin.publish(PushRecipient::client("ada"), payload("3")).await.unwrap();

        let news = "pushenabled:news";
        let of_device = PushChannelSubscription::for_device(news, "d2");
        admin.channel_subscriptions().save(&of_device).await.unwrap();
        let extras = json!({"push": payload("4")}).as_object().cloned().unwrap();
        rest.channels().get(news).publish("event", "data").extras(extras).await.unwrap();

        assert_eq!(pushed(&app, "direct", 1).await, [payload("1")]);
        assert_eq!(pushed(&app, "d1", 2).await, [payload("2"), payload("3")]);
        assert_eq!(pushed(&app, "d2", 2).await, [payload("3"), payload("4")]);

        // A device with an unreachable address is marked as failing, with the reason.
        let mut lost = address("lost");
        lost.insert("ablyKey".to_owned(), json!("abcdef.key:secret"));
        admin.device_registrations().save(&phone("d3", lost)).await.unwrap();
        admin.publish(PushRecipient::device("d3"), payload("5")).await.unwrap();
        let failing = admin.device_registrations().get("d3").await.unwrap().push;
        assert_eq!(failing.state, Some(DevicePushState::Failing));
        assert_eq!(failing.error_reason.map(|error| error.code.0), Some(40400));
    }
}
