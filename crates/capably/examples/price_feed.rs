//! A feed of prices as deltas: the service sends only the difference between a message and the message before.
//!
//! ```sh
//! cargo run -p capably --example price_feed
//! ```
//!
//! With the environment variable `ABLY_KEY`, the example uses Ably's service. Without it, the example starts its
//! own server.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use capably::{
    ClientOptions, Plugin, Realtime,
    plugin::{DeltaError, Vcdiff, VcdiffDecoder},
    realtime::RealtimeChannelOptions,
};
use capably_server::Server;
use serde::{Deserialize, Serialize};

const TICKS: u32 = 100;
const SYMBOLS: [&str; 12] =
    ["AAL", "BATS", "CPG", "DGE", "EXPN", "FRES", "GSK", "HLMA", "IMB", "JD", "KGF", "LAND"];

/// The prices of a symbol, in hundredths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Quote {
    symbol: String,
    bid: u32,
    ask: u32,
    venue: String,
    currency: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_server, options) = match std::env::var("ABLY_KEY") {
        Ok(key) => (None, ClientOptions::new(key)),
        Err(_) => {
            let server = Server::builder().start().await?;
            let options = ClientOptions::new(server.key())
                .endpoint(server.endpoint())
                .port(server.port())
                .tls(false);
            (Some(server), options)
        }
    };
    // Most programs use the SDK's decoder: `Plugin::vcdiff(Vcdiff)`. `Counting` also counts the deltas.
    let counting = Counting::default();
    let subscriber =
        Realtime::connect(options.clone().plugin(Plugin::vcdiff(counting.clone()))).await?;
    let deltas = RealtimeChannelOptions::new().param("delta", "vcdiff");
    let mut prices = subscriber.channels().get_with("example:prices", deltas).subscribe().await?;

    let publisher = Realtime::connect(options).await?;
    let feed = publisher.channels().get("example:prices");
    let mut quotes: Vec<_> = SYMBOLS.iter().map(|symbol| quote(symbol)).collect();
    let mut whole = 0;
    for tick in 0..TICKS {
        change(&mut quotes, tick);
        whole += serde_json::to_vec(&quotes)?.len();
        feed.publish("quotes", serde_json::to_value(&quotes)?).await?;
        // The received message equals the published message, in full or as a delta.
        let message = prices.next().await.ok_or("the subscription ended")?;
        let received: Vec<Quote> = message.json()?;
        if received != quotes {
            return Err("the prices are not those that were published".into());
        }
        if tick % 20 == 0 {
            let came = if message.delta().is_some() { "as a delta" } else { "in full" };
            println!("tick {tick}: {} at {}, {came}", received[0].symbol, received[0].bid);
        }
    }

    let Counted { deltas, bytes, made } = counting.counted();
    println!("{TICKS} messages with {whole} bytes of payload, {deltas} of them as deltas");
    println!(
        "{bytes} bytes of deltas instead of {made}: {} % saved",
        100 - 100 * bytes / made.max(1)
    );
    publisher.close().await;
    subscriber.close().await;
    Ok(())
}

fn quote(symbol: &str) -> Quote {
    let price = symbol.bytes().map(u32::from).sum::<u32>() * 10;
    Quote {
        symbol: symbol.to_owned(),
        bid: price,
        ask: price + 3,
        venue: "XLON".to_owned(),
        currency: "GBX".to_owned(),
    }
}

/// Changes the prices of some symbols.
fn change(quotes: &mut [Quote], tick: u32) {
    for (index, quote) in (0..).zip(quotes) {
        if (tick + index).is_multiple_of(5) {
            let move_by = (tick * 7 + index * 3) % 11;
            quote.bid = quote.bid + move_by - 5;
            quote.ask = quote.bid + 3;
        }
    }
}

/// Applies deltas, and counts the deltas and their bytes.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<[AtomicUsize; 3]>);

struct Counted {
    deltas: usize,
    bytes: usize,
    /// The bytes of the payloads that the deltas produced.
    made: usize,
}

impl Counting {
    fn counted(&self) -> Counted {
        let [deltas, bytes, made] = &*self.0;
        let [deltas, bytes, made] = [deltas, bytes, made].map(|own| own.load(Ordering::Relaxed));
        Counted { deltas, bytes, made }
    }
}

impl VcdiffDecoder for Counting {
    fn decode(&self, delta: &[u8], base: &[u8]) -> Result<Vec<u8>, DeltaError> {
        let payload = Vcdiff.decode(delta, base)?;
        for (counter, by) in self.0.iter().zip([1, delta.len(), payload.len()]) {
            counter.fetch_add(by, Ordering::Relaxed);
        }
        Ok(payload)
    }
}
