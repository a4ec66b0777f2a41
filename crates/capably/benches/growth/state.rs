//! What one client has: attached channels, and the members of a channel.

use std::time::Instant;

use futures_util::future::try_join_all;

use crate::{
    Loads, median, millis,
    process::{Process, memory, publish, runtime},
};

/// Calls that are under way at once.
const IN_FLIGHT: usize = 1_000;
const SAMPLES: usize = 11;

pub(crate) fn channels(loads: Loads) -> Vec<Vec<f64>> {
    let server = Process::start();
    runtime().block_on(async {
        let client = server.client().await;
        let mut rows = Vec::new();
        let mut attached = 0;
        for load in loads.from(1, 10) {
            let names: Vec<_> =
                (attached..load).map(|number| format!("channel:{number}")).collect();
            for names in names.chunks(IN_FLIGHT) {
                let attach =
                    |name: &String| client.channels().get(name.as_str()).attach().into_future();
                try_join_all(names.iter().map(attach)).await.unwrap();
            }
            attached = load;
            let memory = [server.memory(), memory("self")];
            let mut times = Vec::with_capacity(SAMPLES);
            for number in 0..SAMPLES {
                let channel = client.channels().get(format!("further:{load}:{number}"));
                let start = Instant::now();
                channel.attach().await.unwrap();
                times.push(millis(start.elapsed()));
                channel.detach().await.unwrap();
            }
            let acknowledged = publish(&client.channels().get("channel:0")).await;
            rows.push(vec![load as f64, memory[0], memory[1], median(times), acknowledged]);
        }
        rows
    })
}

pub(crate) fn members(loads: Loads) -> Vec<Vec<f64>> {
    let server = Process::start();
    runtime().block_on(async {
        let client = server.client().await;
        let channel = client.channels().get("room");
        let mut rows = Vec::new();
        let mut present = 0;
        for load in loads.from(10, 10) {
            let names: Vec<_> = (present..load).map(|number| format!("user-{number:05}")).collect();
            for names in names.chunks(IN_FLIGHT) {
                let enter = |name: &String| {
                    let enter = channel.presence().enter_client(name.as_str());
                    enter.data("a status").into_future()
                };
                try_join_all(names.iter().map(enter)).await.unwrap();
            }
            present = load;
            let memory = server.memory();
            let (mut get, mut update) = (Vec::new(), Vec::new());
            for number in 0..SAMPLES {
                let other = server.client().await;
                let start = Instant::now();
                let members = other.channels().get("room").presence().get().await.unwrap();
                get.push(millis(start.elapsed()));
                assert_eq!(members.len(), load);
                other.close().await;
                let start = Instant::now();
                let update_of = channel.presence().update_client("user-00000");
                update_of.data(format!("status {number}")).await.unwrap();
                update.push(millis(start.elapsed()));
            }
            rows.push(vec![load as f64, memory, median(get), median(update)]);
        }
        rows
    })
}
