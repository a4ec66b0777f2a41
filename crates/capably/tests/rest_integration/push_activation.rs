//! The program as a push device of the embedded server (RSH2 to RSH8).

use std::sync::{Arc, Mutex};

use capably::{
    ClientOptions, DeviceDetails, DevicePlatform, ErrorCode, Rest, Result, TokenDetails,
    TokenParams,
    push::{MemoryPushStorage, PushOptions, PushRecipient, PushStorage},
    rest::LocalDevice,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{in_both_formats, support::*};

const INBOX: &str = "inbox";

fn device(app: &App, storage: &MemoryPushStorage) -> PushOptions {
    let address = PushRecipient::ably_channel(INBOX, app.key(0));
    PushOptions::new(DevicePlatform::Android, storage.clone(), address)
}

/// A client with every capability on a device.
fn client(app: &App, storage: &MemoryPushStorage) -> Rest {
    app.rest_with(|options| options.key(app.key(0)).push(device(app, storage)))
}

/// A token that may only subscribe to pushes.
async fn subscriber(app: &App, client_id: Option<&str>) -> TokenDetails {
    let mut params = TokenParams::new();
    params.capability = Some(r#"{"*":["push-subscribe"]}"#.into());
    params.client_id = client_id.map(Into::into);
    app.rest().auth().request_token().params(params).await.unwrap()
}

/// A client that may only subscribe to pushes, on a device.
async fn phone(app: &App, client_id: Option<&str>, push: PushOptions) -> Rest {
    let token = subscriber(app, client_id).await;
    app.rest_with(|options| options.token_details(token).push(push))
}

async fn devices(app: &App) -> Vec<DeviceDetails> {
    let registrations = app.rest().push().admin().device_registrations();
    registrations.list().await.unwrap().into_items()
}

fn with_updates(push: PushOptions) -> (PushOptions, mpsc::UnboundedReceiver<Result<()>>) {
    let (sender, updates) = mpsc::unbounded_channel();
    (push.updated_callback(move |result| sender.send(result).unwrap()), updates)
}

// Spec: RSH2, RSH2a, RSH2b, RSH3b3b, RSH3d2b, RSH7, RSH7a, RSH7c, RSH8
in_both_formats! {
    async fn a_device_is_activated_receives_pushes_and_is_deactivated(app) {
        let push = device(&app, &MemoryPushStorage::new()).metadata("model", "X1");
        let rest = phone(&app, Some("ada"), push).await;
        rest.push().activate().await.unwrap();
        let own = rest.push().device().await.unwrap();
        let [registered] = &devices(&app).await[..] else { panic!("one device") };
        assert_eq!((&registered.id, registered.client_id.as_deref()), (&own.id, Some("ada")));
        assert_eq!(registered.metadata["model"], "X1");
        assert_eq!(registered.platform, Some(DevicePlatform::Android));

        // By device, by client, and to the subscribers of a channel.
        let admin = app.rest().push().admin();
        let notification = |title: &str| json!({"notification": {"title": title}});
        admin.publish(PushRecipient::device(&*own.id), notification("1")).await.unwrap();
        admin.publish(PushRecipient::client("ada"), notification("2")).await.unwrap();
        let name = "pushenabled:activation";
        let channel = rest.channels().get(name).push();
        channel.subscribe_device().await.unwrap();
        let listed = channel.list_subscriptions().await.unwrap();
        assert_eq!(listed.items()[0].device_id(), Some(&*own.id));
        let publish = |title| {
            let extras = json!({"push": notification(title)});
            let channel = app.rest().channels().get(name);
            async move { channel.publish("event", "data").extras(extras).await.unwrap() }
        };
        publish("3").await;
        channel.unsubscribe_device().await.unwrap();
        publish("not subscribed").await;
        channel.subscribe_client().await.unwrap();
        publish("4").await;
        let expected = ["1", "2", "3", "4"].map(notification);
        assert_eq!(pushed(&app, INBOX, 4).await, expected);
        channel.unsubscribe_client().await.unwrap();

        rest.push().deactivate().await.unwrap();
        assert!(devices(&app).await.is_empty());
        assert!(!rest.push().device().await.unwrap().is_registered());
        assert_eq!(channel.subscribe_device().await.unwrap_err().code().0, 40000);
    }
}

/// A storage that remembers everything that was stored in it.
#[derive(Clone, Debug, Default)]
struct Remembering {
    content: MemoryPushStorage,
    all: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl PushStorage for Remembering {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        self.content.load()
    }

    fn store(&self, content: &[u8]) -> Result<()> {
        self.all.lock().unwrap().push(content.to_vec());
        self.content.store(content)
    }
}

// Spec: RSH3, RSH3h, RSH8a
in_both_formats! {
    async fn a_process_goes_on_from_every_state_that_another_has_stored(app) {
        let remembering = Remembering::default();
        let address = |channel| PushRecipient::ably_channel(channel, app.key(0));
        let push = PushOptions::new(DevicePlatform::Ios, remembering.clone(), address("a"));
        let (push, mut updates) = with_updates(push);
        let rest = phone(&app, None, push).await;
        rest.push().activate().await.unwrap();
        rest.push().update_recipient(address("b")).await.unwrap();
        updates.recv().await.unwrap().unwrap();
        rest.push().deactivate().await.unwrap();
        drop(rest);
        let all = remembering.all.lock().unwrap().clone();
        // The identity, the address, the registration; the update and its end; the deregistration and its end.
        assert_eq!(all.len(), 7);

        for (number, content) in all.iter().enumerate() {
            // The service knows the device, or it does not.
            for is_known in [false, true] {
                let storage = MemoryPushStorage::new();
                storage.store(content).unwrap();
                let stored: Value = serde_json::from_slice(content).unwrap();
                if is_known && stored["device"]["deviceSecret"].is_string() {
                    let registration = json!({
                        "id": stored["device"]["id"], "platform": "ios", "formFactor": "other",
                        "deviceSecret": stored["device"]["deviceSecret"],
                        "push": {"recipient": address_of(&app)},
                    });
                    let path = "/push/deviceRegistrations";
                    let post = capably::http::HttpMethod::Post;
                    let made = app.rest().request(post, path).body(registration).await.unwrap();
                    assert_eq!(made.status(), 201);
                }
                let push = PushOptions::new(DevicePlatform::Ios, storage, address("b"));
                let rest = phone(&app, None, push).await;
                // A registration that is gone is an error, and deactivating is the way out.
                if let Err(error) = rest.push().activate().await {
                    assert_eq!(error.code().0, 40005, "{number}, {is_known}: {error}");
                    rest.push().deactivate().await.unwrap();
                    rest.push().activate().await.unwrap();
                }
                let device = rest.push().device().await.unwrap();
                assert!(device.is_registered(), "{number}, {is_known}");
                rest.push().deactivate().await.unwrap();
                // What the service has under an identity token of another registration, it does not give up.
                for left in devices(&app).await {
                    let registrations = app.rest().push().admin().device_registrations();
                    assert_eq!(stored["device"]["id"], *left.id, "{number}, {is_known}");
                    registrations.remove(&left.id).await.unwrap();
                }
            }
        }
    }
}

fn address_of(app: &App) -> Value {
    json!({"transportType": "ablyChannel", "channel": "b", "ablyKey": app.key(0)})
}

// Spec: RSH6, RSH6a, RSH6b
in_both_formats! {
    async fn a_device_with_the_credentials_of_another_is_refused(app) {
        let (one, other) = (MemoryPushStorage::new(), MemoryPushStorage::new());
        let rest = phone(&app, None, device(&app, &one)).await;
        rest.push().activate().await.unwrap();
        let others = phone(&app, None, device(&app, &other)).await;
        others.push().activate().await.unwrap();
        let foreign = others.push().device().await.unwrap();
        drop((rest, others));

        // The identity token of another device, on requests about this one.
        let mut content: Value = serde_json::from_slice(&one.load().unwrap().unwrap()).unwrap();
        let genuine = content.clone();
        let token = &foreign.device_identity_token;
        content["device"]["deviceIdentityToken"] = json!(token.as_deref());
        one.store(content.to_string().as_bytes()).unwrap();
        let (push, mut updates) = with_updates(device(&app, &one));
        let rest = phone(&app, None, push).await;
        let channel = rest.channels().get("pushenabled:a").push();
        let error = channel.subscribe_device().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40005, Some(400)));
        rest.push().update_recipient(PushRecipient::fcm("t")).await.unwrap();
        assert_eq!(updates.recv().await.unwrap().unwrap_err().code().0, 40005);
        let error = rest.push().activate().await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::INVALID_CREDENTIAL);
        // It removes neither device: the service does not take it for this one.
        rest.push().deactivate().await.unwrap();
        assert_eq!(devices(&app).await.len(), 2);

        // The id of another device, with a secret of its own.
        content = genuine;
        let id = &foreign.id;
        content["device"] = json!({"id": &**id, "deviceSecret": "s", "recipient": address_of(&app)});
        content["activation"]["state"] = json!("WaitingForDeviceRegistration");
        one.store(content.to_string().as_bytes()).unwrap();
        let rest = phone(&app, None, device(&app, &one)).await;
        let error = rest.push().activate().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40005, Some(400)));
        assert!(error.remediation().unwrap().contains("deactivate"));
        // The way out: another identity.
        rest.push().deactivate().await.unwrap();
        rest.push().activate().await.unwrap();
        assert_ne!(rest.push().device().await.unwrap().id, *id);

        // With a secret instead of a token.
        let by_secret = LocalDevice {
            id: id.clone(),
            device_secret: Some("s".into()),
            ..LocalDevice::default()
        };
        let token = subscriber(&app, None).await;
        let rest = app.rest_with(|options| options.token_details(token));
        let get = || rest.push().admin().device_registrations().get(id);
        rest.set_device(by_secret.clone());
        assert_eq!(get().await.unwrap_err().code().0, 40005);
        rest.set_device(LocalDevice { device_secret: foreign.device_secret, ..by_secret });
        assert_eq!(get().await.unwrap().id, *id);
    }
}

// Spec: RSH3a2a1, RSH3f1
in_both_formats! {
    async fn a_device_of_another_client_is_deactivated_first(app) {
        let storage = MemoryPushStorage::new();
        let (push, mut updates) = with_updates(device(&app, &storage));
        let ada = phone(&app, Some("ada"), push.clone()).await;
        ada.push().activate().await.unwrap();
        let id = ada.push().device().await.unwrap().id;
        // The service loses the device, so that the next update fails.
        app.rest().push().admin().device_registrations().remove(&id).await.unwrap();
        ada.push().update_recipient(PushRecipient::fcm("t")).await.unwrap();
        assert_eq!(updates.recv().await.unwrap().unwrap_err().code().0, 40005);

        let bob = phone(&app, Some("bob"), device(&app, &storage)).await;
        let error = bob.push().activate().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (61002, Some(400)));
        bob.push().deactivate().await.unwrap();
        bob.push().activate().await.unwrap();
        let [registered] = &devices(&app).await[..] else { panic!("one device") };
        assert_eq!(registered.client_id.as_deref(), Some("bob"));
        assert_ne!(registered.id, id);
    }
}

// Spec: RTC13, RSA7b3, RSH8d, RSH8e
in_both_formats! {
    async fn a_realtime_client_that_becomes_identified_updates_its_device(app) {
        let storage = MemoryPushStorage::new();
        let (push, mut updates) = with_updates(device(&app, &storage));
        let anonymous = subscriber(&app, None).await;
        let realtime = app
            .realtime_with(|options: ClientOptions| options.token_details(anonymous).push(push))
            .await;
        realtime.push().activate().await.unwrap();
        assert_eq!(realtime.push().device().await.unwrap().client_id, None);
        drop(realtime);

        // The token is opaque to the client: the connection tells who it is.
        let token = subscriber(&app, Some("ada")).await.token;
        let (push, mut later) = with_updates(device(&app, &storage));
        let realtime = capably::Realtime::new(
            app.options().token(&*token).push(push).auto_connect(false),
        )
        .unwrap();
        assert_eq!(realtime.push().device().await.unwrap().client_id, None);
        realtime.connection().connect();
        later.recv().await.unwrap().unwrap();
        assert_eq!(realtime.push().device().await.unwrap().client_id.as_deref(), Some("ada"));
        let [registered] = &devices(&app).await[..] else { panic!("one device") };
        assert_eq!(registered.client_id.as_deref(), Some("ada"));
        assert!(updates.try_recv().is_err(), "nothing was to be updated before");
    }
}

// Spec: RSH7b2, RSH7d2
in_both_formats! {
    async fn a_device_without_a_client_id_cannot_subscribe_its_client(app) {
        let rest = client(&app, &MemoryPushStorage::new());
        rest.push().activate().await.unwrap();
        let channel = rest.channels().get("pushenabled:a").push();
        for refused in [channel.subscribe_client().await, channel.unsubscribe_client().await] {
            let error = refused.unwrap_err();
            assert_eq!((error.code().0, error.status()), (40000, Some(400)));
            assert!(error.message().contains("clientId"), "{error}");
        }
    }
}
