//! What the SDK's methods return can be spawned, stored and joined.

use std::future::IntoFuture;

use capably::{
    Annotation, BatchPublishSpec, ClientOptions, DeviceDetails, Message, PresenceAction,
    PushChannelSubscription, Realtime, Rest, TokenParams,
    auth::RevocationTarget,
    http::HttpMethod,
    realtime::{ChannelState, ConnectionState, MessageFilter, RealtimeChannelOptions},
    rest::{HttpPaginatedResponse, PaginatedResult, PushFilter, PushRecipient},
};
use futures_util::future::join_all;
use serde_json::json;

/// What `tokio::spawn` takes. The bound is the test: a builder that borrows does not compile.
fn owned<B>(builder: B) -> B
where
    B: IntoFuture + Send + 'static,
    B::IntoFuture: Send + 'static,
{
    builder
}

/// A handle that can be moved into a task or stored in a struct without a lifetime.
fn handle<H: Clone + Send + Sync + 'static>(handle: H) -> H {
    handle
}

/// The futures of pages. A page comes from the service, so this is compiled and never called.
#[expect(dead_code, reason = "its signature and body are the test")]
fn pages_are_owned(page: &PaginatedResult<Message>, response: &HttpPaginatedResponse) {
    drop((owned(page.next()), owned(page.first()), owned(page.current())));
    drop((owned(response.next()), owned(response.first())));
}

#[tokio::test]
async fn every_call_of_a_realtime_client_is_owned() {
    let options = ClientOptions::new("app.key:secret").auto_connect(false);
    let client = Realtime::new(options).expect("the options are good");
    let name = "a name".to_owned();
    let channel = client.channels().get(&name);
    let message = || Message { serial: Some("s".into()), ..Message::default() };

    drop(owned(channel.attach()));
    drop(owned(channel.detach()));
    drop(owned(channel.set_options(RealtimeChannelOptions::new())));
    drop(owned(channel.publish("n", "d")));
    drop(owned(channel.publish_data("d").id("x").client_id("c").extras(json!({})).param("p", 1)));
    drop(owned(channel.publish_message(message())));
    drop(owned(channel.publish_messages([message()])));
    drop(owned(channel.publish("n", "d").submit()));
    drop(owned(channel.history().limit(1).start(1).end(2)));
    drop(owned(channel.history_until_attach()));
    drop(owned(channel.get_message(&message())));
    drop(owned(channel.message_versions(&message())));
    drop(owned(channel.update_message(message())));
    drop(owned(channel.delete_message(message())));
    drop(owned(channel.append_message(message())));
    drop(owned(channel.append_message(message()).submit()));

    drop(owned(channel.subscribe().name("n").filter(MessageFilter::new()).capacity(1)));
    drop(owned(channel.subscribe().capacity_bytes(1).attach(false).fill_gaps()));
    drop(owned(channel.when(ChannelState::Attached)));
    drop(owned(channel.properties()));

    let presence = handle(channel.presence());
    drop(owned(presence.subscribe().action(PresenceAction::Enter).capacity(1)));
    drop(owned(presence.enter().data("d").extras(json!({}))));
    drop(owned(presence.update()));
    drop(owned(presence.leave()));
    drop(owned(presence.enter_client("c")));
    drop(owned(presence.update_client("c")));
    drop(owned(presence.leave_client("c")));
    drop(owned(presence.get().client_id("c").connection_id("c")));
    drop(owned(presence.history()));

    let annotations = handle(channel.annotations());
    drop(owned(annotations.subscribe().annotation_type("t").capacity(1)));
    drop(owned(annotations.publish(&message(), Annotation::default())));
    drop(owned(annotations.delete(&message(), Annotation::default())));
    drop(owned(annotations.get(&message())));

    let connection = handle(client.connection().clone());
    drop(owned(connection.ping()));
    drop(owned(connection.close()));
    drop(owned(connection.when(ConnectionState::Connected)));
    drop(owned(connection.create_recovery_key()));
    drop(owned(client.close()));
    drop(owned(client.time()));
    drop(owned(client.stats()));
    drop(owned(client.request(HttpMethod::Get, "/time")));
    drop(owned(client.auth().authorize()));
    drop(owned(client.push().admin().device_registrations().list()));
    drop(owned(Realtime::connect("app.key:secret")));
}

#[tokio::test]
async fn every_call_of_a_rest_client_is_owned() {
    let rest = Rest::new("app.key:secret").expect("the key is well formed");
    let name = "a name".to_owned();
    let channel = rest.channels().get(&name);
    let message = || Message { serial: Some("s".into()), ..Message::default() };

    drop(owned(channel.publish("n", "d").id("x").client_id("c").extras(json!({})).param("p", 1)));
    drop(owned(channel.publish_data("d")));
    drop(owned(channel.publish_message(message())));
    drop(owned(channel.publish_messages([message()]).id("x").client_id("c").extras(json!({}))));
    drop(owned(channel.history()));
    drop(owned(channel.get_message(&message())));
    drop(owned(channel.message_versions(&message())));
    drop(owned(channel.update_message(message())));
    drop(owned(channel.delete_message(message())));
    drop(owned(channel.append_message(message())));
    drop(owned(channel.status()));
    drop(owned(channel.presence().get()));
    drop(owned(channel.presence().history()));
    drop(owned(channel.annotations().publish(&message(), Annotation::default())));
    drop(owned(channel.annotations().delete(&message(), Annotation::default())));
    drop(owned(channel.annotations().get(&message())));
    drop(owned(channel.push().subscribe_device()));
    drop(owned(channel.push().subscribe_client()));
    drop(owned(channel.push().unsubscribe_device()));
    drop(owned(channel.push().unsubscribe_client()));
    drop(owned(channel.push().list_subscriptions()));

    drop(owned(rest.time()));
    drop(owned(rest.stats()));
    drop(owned(rest.request(HttpMethod::Post, "/x").body(json!({}))));
    drop(owned(rest.batch_publish(BatchPublishSpec::new(["a"], [message()]))));
    drop(owned(rest.batch_publish_all([BatchPublishSpec::new(["a"], [message()])])));
    drop(owned(rest.batch_presence([&name])));

    let admin = rest.push().admin();
    drop(owned(admin.publish(PushRecipient::client("c"), json!({"data": {}}))));
    let devices = admin.device_registrations();
    drop(owned(devices.get("d")));
    drop(owned(devices.list()));
    drop(owned(devices.save(&DeviceDetails::default())));
    drop(owned(devices.remove("d")));
    drop(owned(devices.remove_where(&PushFilter::new().client_id("c"))));
    let subscriptions = admin.channel_subscriptions();
    let subscription = PushChannelSubscription::for_client("ch", "c");
    drop(owned(subscriptions.list()));
    drop(owned(subscriptions.list_channels()));
    drop(owned(subscriptions.save(&subscription)));
    drop(owned(subscriptions.remove(&subscription)));
    drop(owned(subscriptions.remove_where(&PushFilter::new().client_id("c"))));

    drop(owned(rest.auth().authorize().params(TokenParams::new())));
    drop(owned(rest.auth().request_token()));
    drop(owned(rest.auth().create_token_request()));
    drop(owned(rest.auth().revoke_tokens([RevocationTarget::client_id("c")])));
}

#[tokio::test]
async fn publishes_are_spawned_and_joined() {
    let server = capably_server::Server::builder().start().await.expect("it starts");
    for binary in [false, true] {
        let options = ClientOptions::new(server.key())
            .endpoint(server.endpoint())
            .port(server.port())
            .tls(false)
            .use_binary_protocol(binary);
        let client = Realtime::connect(options).await.expect("it connects");
        let names = ["a", "b"].map(str::to_owned);
        let publishes = names.iter().map(|name| client.channels().get(name).publish(name, name));
        for result in join_all(publishes.map(IntoFuture::into_future)).await {
            result.expect("it is published");
        }
        let published = tokio::spawn(client.channels().get("c").publish("n", "d").into_future());
        published.await.expect("no panic").expect("it is published");
        let attached = tokio::spawn(client.channels().get("d").attach());
        attached.await.expect("no panic").expect("it is attached");
    }
}
