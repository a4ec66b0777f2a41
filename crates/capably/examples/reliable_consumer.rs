//! A consumer that loses its connection but no message: the subscription reads missed messages from history.
//!
//! ```text
//! cargo run -p capably --example reliable_consumer
//! ```
//!
//! The example starts its own server, with fault injection. The server disconnects the consumer for longer than the
//! service keeps the state of a connection. Afterwards the server no longer knows the consumer's position.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::time::Duration;

use capably::{
    Channel, ClientOptions, Realtime,
    realtime::{ChannelState, ConnectionState, Subscription, SubscriptionEvent},
};
use capably_server::{
    Server,
    faults::{Faults, Rule},
    protocol::{
        ClientFrame,
        frame::{Action, Attach},
    },
};

const ORDERS: &str = "example:orders";
/// The number of orders before the consumer is disconnected, while it is disconnected, and afterwards.
const EACH: usize = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let faults = Faults::new();
    // The service keeps the state of a connection for two minutes. A shorter time keeps the example short.
    let server = Server::builder().connection_state_ttl(Duration::from_millis(200));
    let server = server.faults(&faults).start().await?;
    let options =
        ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port()).tls(false);
    let shop = Realtime::connect(options.clone()).await?.channels().get(ORDERS);

    let impatient = options
        .client_id("consumer")
        .disconnected_retry_timeout(Duration::from_millis(50))
        .suspended_retry_timeout(Duration::from_millis(50));
    let client = Realtime::connect(impatient).await?;
    let channel = client.channels().get(ORDERS);
    let mut orders = channel.subscribe().fill_gaps().await?;

    let mut received = Received::default();

    order(&shop, 1..=EACH).await?;
    // The orders arrive before the connection is lost: all of the later ones, and none of these, come from history.
    received.read(&mut orders, EACH).await?;
    cut_off(&faults);
    client.connection().when(ConnectionState::Suspended).await?;
    println!("* the connection is down for longer than the service keeps its state");
    order(&shop, EACH + 1..=2 * EACH).await?;
    let_back(&faults);
    channel.when(ChannelState::Attached).await?;
    println!("* it is back, and the service does not know where it was");
    order(&shop, 2 * EACH + 1..=3 * EACH).await?;

    received.read(&mut orders, 3 * EACH).await?;
    let Received { numbers, filled } = received;
    assert_eq!(numbers, (1..=3 * EACH).collect::<Vec<_>>());
    println!("* {} orders, each once and in order, {filled} of them from history", numbers.len());
    client.close().await;
    Ok(())
}

/// What the consumer has received.
#[derive(Default)]
struct Received {
    numbers: Vec<usize>,
    /// The number of orders from history.
    filled: usize,
}

impl Received {
    /// Reads orders until `total` have come.
    async fn read(
        &mut self,
        orders: &mut Subscription,
        total: usize,
    ) -> Result<(), Box<dyn std::error::Error>> {
        while self.numbers.len() < total {
            match orders.next_event().await.ok_or("the subscription ended")? {
                SubscriptionEvent::Message(message) => {
                    println!("order {}", message.data.as_str().unwrap_or_default());
                    self.numbers.push(message.json()?);
                }
                SubscriptionEvent::Filled(message) => {
                    println!("order {}, from history", message.data.as_str().unwrap_or_default());
                    self.numbers.push(message.json()?);
                    self.filled += 1;
                }
                // History does not contain all missed messages. An application loads its state again here.
                SubscriptionEvent::Gap(gap) => {
                    return Err(format!("orders are missing: {gap:?}").into());
                }
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(())
    }
}

async fn order(
    shop: &Channel,
    numbers: impl IntoIterator<Item = usize>,
) -> Result<(), capably::Error> {
    for number in numbers {
        shop.publish("order", number.to_string()).await?;
    }
    Ok(())
}

/// Disconnects the consumer, and refuses new connections.
fn cut_off(faults: &Faults) {
    faults.add(Rule::opening().refuse());
    faults.connections().param("clientId", "consumer").disconnect();
}

/// Lets the consumer connect again, but removes its position from the ATTACH frame.
fn let_back(faults: &Faults) {
    faults.clear();
    let anew = Attach { channel: ORDERS.into(), ..Attach::default() };
    let attach = Rule::to_server().action(Action::Attach).channel(ORDERS).times(1);
    faults.add(attach.replace(ClientFrame::Attach(anew)));
}
