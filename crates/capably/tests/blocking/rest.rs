//! REST without a runtime.

use std::sync::{Arc, mpsc};

use capably::{
    Annotation, BatchPublishSpec, ClientOptions, DevicePlatform, Message, PushChannelSubscription,
    Rest, StatsUnit, TokenDetails,
    auth::RevocationTarget,
    blocking::{Wait, WaitEach},
    http::HttpMethod,
    push::{MemoryPushStorage, PushOptions},
    rest::{PushFilter, PushRecipient},
};
use capably_server::Server;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::support::scripted_http::{ScriptedHttp, respond};

/// A server with a runtime of its own, and a client of it in each format.
fn server() -> (Runtime, Server, [Rest; 2]) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::builder().start()).unwrap();
    let clients = [true, false].map(|binary| {
        let options = ClientOptions::new(server.key()).endpoint(server.endpoint());
        let options = options.port(server.port()).tls(false).use_binary_protocol(binary);
        Rest::new(options).unwrap()
    });
    (runtime, server, clients)
}

#[test]
fn calls_wait_for_their_result() {
    let (_runtime, _server, clients) = server();
    for (at, rest) in clients.iter().enumerate() {
        assert!(rest.time().wait().unwrap() > 1_704_067_200_000);
        let channel = rest.channels().get(format!("waiting-{at}"));
        for n in 0..5 {
            let published = channel.publish("n", n.to_string()).wait().unwrap();
            assert_eq!(published.serials.len(), 1);
        }
        let page = channel.history().limit(2).wait().unwrap();
        assert_eq!(page.items()[0].data.as_str(), Some("4"));
        let next = page.next().wait().unwrap().expect("three messages are left");
        assert_eq!(next.items()[1].data.as_str(), Some("1"));
        let sizes: Vec<_> =
            page.clone().pages().wait_each().map(|page| page.unwrap().items().len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
        let mut items = page.items_stream().wait_each();
        let data: Vec<_> = items
            .by_ref()
            .map(|message| message.unwrap().data.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(data, ["4", "3", "2", "1", "0"]);
        assert!(items.next().is_none(), "it has ended for good");
    }
}

#[test]
fn a_failed_call_returns_its_error() {
    let (_runtime, server, _) = server();
    let options = ClientOptions::new(format!("{}x", server.key())).endpoint(server.endpoint());
    let rest = Rest::new(options.port(server.port()).tls(false)).unwrap();
    let error = rest.channels().get("secret").publish("a", "b").wait().unwrap_err();
    assert_eq!((error.code().0, error.status()), (40101, Some(401)));
}

#[test]
fn threads_share_a_client() {
    let (_runtime, _server, [rest, _]) = server();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let channel = rest.channels().get("shared");
            scope.spawn(move || channel.publish("n", n.to_string()).wait().unwrap());
        }
    });
    let page = rest.channels().get("shared").history().wait().unwrap();
    let mut data: Vec<_> = page.items().iter().map(|m| m.data.as_str().unwrap()).collect();
    data.sort_unstable();
    assert_eq!(data, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn waiting_in_asynchronous_code_is_an_error_and_not_a_panic() {
    let http = ScriptedHttp::always(respond(200, json!([1])));
    let rest = http.rest();
    for runtime in [
        tokio::runtime::Builder::new_current_thread().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap(),
    ] {
        runtime.block_on(async {
            let error = rest.time().wait().unwrap_err();
            assert_eq!((error.code().0, error.status()), (40000, Some(400)));
            assert!(error.remediation().is_some_and(|remedy| remedy.contains("await")));
        });
    }
    assert_eq!(http.requests().len(), 0);

    let page = ScriptedHttp::always(respond(200, json!([]))).rest().stats().wait().unwrap();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut pages = page.pages().wait_each();
        assert_eq!(pages.next().unwrap().unwrap_err().code().0, 40000);
        assert!(pages.next().is_none(), "the error ends it");
    });
}

#[test]
fn waiting_works_on_a_blocking_thread_of_a_runtime() {
    let http = ScriptedHttp::always(respond(200, json!([7])));
    let rest = Arc::new(http.rest());
    for runtime in [
        tokio::runtime::Builder::new_current_thread().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap(),
    ] {
        let rest = Arc::clone(&rest);
        let time = runtime.block_on(async {
            tokio::task::spawn_blocking(move || rest.time().wait()).await.unwrap()
        });
        assert_eq!(time.unwrap(), 7);
    }
}

#[test]
fn a_token_callback_that_blocks_its_runtime_gets_an_error() {
    let http = ScriptedHttp::always(respond(200, json!([])));
    let inner = Arc::new(http.rest());
    let (sender, results) = mpsc::channel();
    let callback = move |_| {
        sender.send(inner.time().wait().map_err(|error| error.code().0)).unwrap();
        async { Ok::<_, capably::Error>("token") }
    };
    let rest = http.rest_with(ClientOptions::default().auth_callback(callback));
    rest.channels().get("c").history().wait().unwrap();
    assert_eq!(results.recv(), Ok(Err(40000)));
}

/// Every REST call must have a blocking form; this list contains each of them.
#[test]
fn every_call_has_a_wait_method() {
    let http = ScriptedHttp::new(|request, _| {
        let path = request.url.split(".net").nth(1).unwrap().split('?').next().unwrap();
        respond(
            200,
            match (request.method, path) {
                (_, "/push/deviceRegistrations/d") => json!({
                    "id": "d", "platform": "ios", "formFactor": "phone", "push": {"recipient": {}},
                }),
                (HttpMethod::Post, "/push/channelSubscriptions") => {
                    json!({"channel": "c", "clientId": "ada"})
                }
                (_, "/channels/c") => json!({"channelId": "c"}),
                (HttpMethod::Patch, _) => json!({"versionSerial": "v"}),
                (HttpMethod::Post, "/channels/c/messages") => json!({"serials": ["s"]}),
                (HttpMethod::Get, "/channels/c/messages/s") => json!({"serial": "s"}),
                (HttpMethod::Post, "/messages") => json!({
                    "successCount": 1, "failureCount": 0,
                    "results": [{"channel": "c", "messageId": "m"}],
                }),
                (HttpMethod::Get, "/presence") | (_, "/keys/appId.keyId/revokeTokens") => {
                    json!({"successCount": 0, "failureCount": 0, "results": []})
                }
                (_, "/keys/appId.keyId/requestToken") => json!({"token": "t"}),
                (_, "/time") => json!([1]),
                _ => json!([]),
            },
        )
    });
    let rest = http.rest();
    let channel = rest.channels().get("c");
    let message = || Message { serial: Some("s".into()), ..Message::default() };
    let annotation = Annotation { annotation_type: Some("t".into()), ..Annotation::default() };

    rest.time().wait().unwrap();
    rest.stats().unit(StatsUnit::Hour).wait().unwrap();
    rest.request(HttpMethod::Get, "/x").wait().unwrap().next().wait().unwrap();
    rest.batch_publish(BatchPublishSpec::new(["c"], [message()])).wait().unwrap();
    rest.batch_publish_all([BatchPublishSpec::new(["c"], [message()])]).wait().unwrap();
    rest.batch_presence(["c"]).wait().unwrap();

    channel.publish("a", "b").wait().unwrap();
    channel.publish_message(message()).wait().unwrap();
    channel.publish_messages([message()]).wait().unwrap();
    let page = channel.history().wait().unwrap();
    page.first().wait().unwrap();
    page.current().wait().unwrap();
    channel.get_message("s").wait().unwrap();
    channel.message_versions("s").wait().unwrap();
    channel.update_message(message()).wait().unwrap();
    channel.delete_message(message()).wait().unwrap();
    channel.append_message(message()).wait().unwrap();
    channel.status().wait().unwrap();
    channel.presence().get().wait().unwrap();
    channel.presence().history().wait().unwrap();
    channel.annotations().publish("s", annotation.clone()).wait().unwrap();
    channel.annotations().delete("s", annotation).wait().unwrap();
    channel.annotations().get("s").wait().unwrap();

    let admin = rest.push().admin();
    let data = json!({"data": {"a": "b"}});
    admin.publish(PushRecipient::client("ada"), data).wait().unwrap();
    let devices = admin.device_registrations();
    let device = devices.get("d").wait().unwrap();
    devices.list().wait().unwrap();
    devices.save(&device).wait().unwrap();
    devices.remove("d").wait().unwrap();
    devices.remove_where(&PushFilter::new().client_id("ada")).wait().unwrap();
    let subscriptions = admin.channel_subscriptions();
    let subscription = PushChannelSubscription::for_client("c", "ada");
    subscriptions.list().wait().unwrap();
    subscriptions.list_channels().wait().unwrap();
    subscriptions.save(&subscription).wait().unwrap();
    subscriptions.remove(&subscription).wait().unwrap();
    subscriptions.remove_where(&PushFilter::new().channel("c")).wait().unwrap();

    let auth = rest.auth();
    auth.revoke_tokens([RevocationTarget::client_id("ada")]).wait().unwrap();
    auth.create_token_request().wait().unwrap();
    assert_eq!(auth.request_token().wait().unwrap(), TokenDetails::new("t"));
    auth.authorize().wait().unwrap();

    // Each call sent a request, except the signing of a token request and the pages after the last.
    assert_eq!(http.requests().len(), 36);
    assert!(http.requests().iter().all(|request| request.header("Ably-Agent").is_some()));
}

// Spec: RSH2a, RSH2b, RSH7a, RSH7c
#[test]
fn a_push_device_is_activated_without_a_runtime() {
    let (_runtime, server, _clients) = server();
    for binary in [true, false] {
        let address = PushRecipient::ably_channel("inbox", server.key());
        let push = PushOptions::new(DevicePlatform::Android, MemoryPushStorage::new(), address);
        let options = ClientOptions::new(server.key()).endpoint(server.endpoint());
        let options = options.port(server.port()).tls(false).use_binary_protocol(binary);
        let rest = Rest::new(options.push(push)).unwrap();
        rest.push().activate().wait().unwrap();
        let device = rest.push().device().wait().unwrap();
        assert!(device.is_registered());
        let registrations = rest.push().admin().device_registrations();
        assert_eq!(registrations.get(&device.id).wait().unwrap().id, device.id);
        let subscriptions = rest.channels().get("c").push().list_subscriptions();
        assert!(subscriptions.wait().unwrap().items().is_empty());
        rest.push().update_recipient(PushRecipient::fcm("t")).wait().unwrap();
        rest.push().deactivate().wait().unwrap();
        assert_eq!(registrations.get(&device.id).wait().unwrap_err().code().0, 40400);
    }
}
