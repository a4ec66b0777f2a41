//! A program of plain threads: workers share the jobs of a channel, and a callback counts the results.
//!
//! ```sh
//! cargo run -p capably --features blocking --example threads
//! ```
//!
//! With the environment variable `ABLY_KEY`, the example uses Ably's service. Without the variable, the example starts
//! its own server.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{collections::BTreeMap, ops::ControlFlow, sync::mpsc, thread, time::Duration};

use capably::{ClientOptions, Realtime, blocking::Wait};
use serde::{Deserialize, Serialize};

const WORKERS: u64 = 3;
const JOBS: u64 = 30;

/// A number to take the square of.
#[derive(Serialize, Deserialize)]
struct Job {
    number: u64,
}

/// The square of a number, and who has computed it.
#[derive(Serialize, Deserialize)]
struct Done {
    number: u64,
    square: u64,
    worker: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_server, options) = match std::env::var("ABLY_KEY") {
        Ok(key) => (None, ClientOptions::new(key)),
        Err(_) => {
            let (server, options) = own_server()?;
            (Some(server), options)
        }
    };
    let client = Realtime::connect(options).wait()?;

    // The callback runs on a thread of its own, and ends with the last result.
    let (sender, results) = mpsc::channel();
    let done = client.channels().get("example:done").typed::<Done>();
    let mut left = JOBS;
    let counting = done.subscribe().wait()?.each(move |done| {
        match done {
            Ok(done) => {
                left -= 1;
                // The main thread may have given up.
                let _ = sender.send(done.value);
            }
            Err(wrong) => println!("ignored: {wrong}"),
        }
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;

    // Each worker iterates over all jobs, and does its share.
    let jobs = client.channels().get("example:jobs").typed::<Job>();
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (done, mut jobs) = (done.clone(), jobs.subscribe().wait()?);
        workers.push(thread::spawn(move || -> Result<(), capably::Error> {
            for job in jobs.blocking_iter()? {
                let number = job?.value.number;
                if number % WORKERS == worker {
                    let result = Done { number, square: number * number, worker };
                    done.publish("done", &result).wait()?;
                }
            }
            // The client was closed.
            Ok(())
        }));
    }

    let mut receipts = Vec::new();
    for number in 0..JOBS {
        receipts.push(jobs.publish("job", &Job { number }).submit().wait()?);
    }
    for receipt in receipts {
        receipt.wait()?;
    }

    let mut by_worker = BTreeMap::new();
    let mut sum = 0;
    for _ in 0..JOBS {
        let done = results.recv_timeout(Duration::from_secs(30))?;
        assert_eq!(done.square, done.number * done.number);
        *by_worker.entry(done.worker).or_insert(0) += 1;
        sum += done.square;
    }
    counting.ended().wait()?;
    client.close().wait()?;
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")??;
    }
    println!("{WORKERS} workers have done {JOBS} jobs, {by_worker:?}; the squares add up to {sum}");
    Ok(())
}

/// A server in this process, with the options for clients of it.
fn own_server() -> Result<(Hosted, ClientOptions), Box<dyn std::error::Error>> {
    // The server is asynchronous: a thread runs it.
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(capably_server::Server::builder().start())?;
    let options =
        ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port()).tls(false);
    Ok((Hosted { _server: server, _runtime: runtime }, options))
}

/// A server and the runtime that it runs on.
struct Hosted {
    _server: capably_server::Server,
    _runtime: tokio::runtime::Runtime,
}
