//! The client of capably: `peer-capably <receive|publish|connect|memory> <msgpack|json> <port> <count>`. Prints the
//! figures as one line of JSON.

#[path = "../../usage.rs"]
mod usage;

use std::{collections::VecDeque, env, error::Error, time::Instant};

use capably::{
    ClientOptions, Realtime,
    realtime::{Receipt, SubscriptionEvent},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const IN_FLIGHT: usize = 1024;
const WARM_UP: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [figure, format, port, count] = &arguments[..] else { return Err("four arguments".into()) };
    let (port, count): (u16, usize) = (port.parse()?, count.parse()?);
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
                client.channels().get("prices").attach().await?;
                times.push(start.elapsed().as_secs_f64());
                client.close().await;
            }
            times.sort_by(f64::total_cmp);
            println!("{{\"p50\":{}}}", times[count / 2]);
            Ok(())
        }
        other => Err(format!("no such figure: {other}").into()),
    }
}

async fn connect(format: &str, port: u16) -> Outcome<Realtime> {
    let options = ClientOptions::new("appIdX.keyId:keySecret")
        .endpoint("127.0.0.1")
        .port(port)
        .tls(false)
        .use_binary_protocol(format == "msgpack");
    Ok(Realtime::connect(options).await?)
}

async fn receive(client: &Realtime, count: usize) -> Outcome<()> {
    let mut messages = client.channels().get("prices").subscribe().await?;
    let mut start = (Instant::now(), usage::cpu());
    for count in [WARM_UP, count] {
        start = (Instant::now(), usage::cpu());
        client.channels().get(format!("go:{count}")).attach().await?;
        let mut bytes = 0;
        for _ in 0..count {
            match messages.next_event().await {
                Some(SubscriptionEvent::Message(message)) => {
                    bytes += message.data.as_str().map_or(0, str::len);
                }
                other => return Err(format!("not a message: {other:?}").into()),
            }
        }
        assert_eq!(bytes, count * 100);
    }
    report(start);
    Ok(())
}

async fn publish(client: &Realtime, count: usize) -> Outcome<()> {
    let channel = client.channels().get("prices");
    channel.attach().await?;
    let data = "x".repeat(100);
    let mut start = (Instant::now(), usage::cpu());
    for count in [WARM_UP, count] {
        start = (Instant::now(), usage::cpu());
        let mut in_flight = VecDeque::<Receipt>::with_capacity(IN_FLIGHT);
        for _ in 0..count {
            if in_flight.len() == IN_FLIGHT
                && let Some(receipt) = in_flight.pop_front()
            {
                receipt.await?;
            }
            in_flight.push_back(channel.publish("tick", data.as_str()).submit().await?);
        }
        for receipt in in_flight {
            receipt.await?;
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
    let _messages = client.channels().get("prices").subscribe().await?;
    let (idle, own) = (usage::memory(), usage::own_memory());
    let mut channels = Vec::with_capacity(count);
    for number in 0..count {
        let channel = client.channels().get(format!("channel:{number}"));
        channel.attach().await?;
        channels.push(channel);
    }
    let channel = (usage::memory() - idle) as usize / count;
    println!("{{\"idle\":{idle},\"own\":{own},\"channel\":{channel}}}");
    Ok(())
}
