//! The client of the crate `reliably`: `peer-reliably <receive|publish|connect|memory> <msgpack|json> <port> <count>`.
//! Prints the figures as one line of JSON.

#[path = "../../usage.rs"]
mod usage;

use std::{env, error::Error, time::Instant};

use futures_util::{StreamExt, stream};
use reliably::{ClientOptions, ConnectionState, Data, Realtime};

type Outcome<T> = Result<T, Box<dyn Error>>;

const IN_FLIGHT: usize = 1024;
const WARM_UP: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [figure, format, port, count] = &arguments[..] else { return Err("four arguments".into()) };
    let count: usize = count.parse()?;
    let connect = || connect(format, port);
    match figure.as_str() {
        "receive" => receive(&connect().await?, count).await,
        "publish" => publish(&connect().await?, count).await,
        "memory" => memory(&connect().await?, count).await,
        "connect" => {
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                let start = Instant::now();
                let client = connect().await?;
                client.channels.get("prices").await.attach().await?;
                times.push(start.elapsed().as_secs_f64());
                client.close().await;
                client.connection.wait_for_state(ConnectionState::Closed).await?;
            }
            times.sort_by(f64::total_cmp);
            println!("{{\"p50\":{}}}", times[count / 2]);
            Ok(())
        }
        other => Err(format!("no such figure: {other}").into()),
    }
}

async fn connect(format: &str, port: &str) -> Outcome<Realtime> {
    // The crate has no option for the address of its service. The name of an environment becomes the start of the host's
    // name, and this one ends the host there: the rest is a parameter that the service ignores.
    let options = ClientOptions::new("appIdX.keyId:keySecret")
        .environment(format!("127.0.0.1:{port}/?unused="))?
        .use_binary_protocol(format == "msgpack");
    let client = Realtime::from_options(options)?;
    client.connection.wait_for_state(ConnectionState::Connected).await?;
    Ok(client)
}

async fn receive(client: &Realtime, count: usize) -> Outcome<()> {
    let mut messages = client.channels.get("prices").await.subscribe().await?;
    let mut start = (Instant::now(), usage::cpu());
    for count in [WARM_UP, count] {
        start = (Instant::now(), usage::cpu());
        client.channels.get(&format!("go:{count}")).await.attach().await?;
        let mut bytes = 0;
        for _ in 0..count {
            let message = messages.recv().await.ok_or("the subscription has ended")?;
            if let Data::String(text) = &message.data {
                bytes += text.len();
            }
        }
        assert_eq!(bytes, count * 100);
    }
    report(start);
    Ok(())
}

async fn publish(client: &Realtime, count: usize) -> Outcome<()> {
    let channel = client.channels.get("prices").await;
    channel.attach().await?;
    let data = "x".repeat(100);
    let mut start = (Instant::now(), usage::cpu());
    for count in [WARM_UP, count] {
        start = (Instant::now(), usage::cpu());
        let publish = |_| channel.publish(Some("tick"), Data::String(data.clone()));
        let mut results = stream::iter(0..count).map(publish).buffer_unordered(IN_FLIGHT);
        while let Some(result) = results.next().await {
            result?;
        }
    }
    report(start);
    Ok(())
}

fn report((start, cpu): (Instant, f64)) {
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), usage::cpu() - cpu);
    println!("{{\"seconds\":{seconds},\"cpu\":{cpu}}}");
}

async fn memory(client: &Realtime, count: usize) -> Outcome<()> {
    let _messages = client.channels.get("prices").await.subscribe().await?;
    let (idle, own) = (usage::memory(), usage::own_memory());
    let mut channels = Vec::with_capacity(count);
    for number in 0..count {
        let channel = client.channels.get(&format!("channel:{number}")).await;
        channel.attach().await?;
        channels.push(channel);
    }
    let channel = (usage::memory() - idle) as usize / count;
    println!("{{\"idle\":{idle},\"own\":{own},\"channel\":{channel}}}");
    Ok(())
}
