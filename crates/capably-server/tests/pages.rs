//! Pages of timed lists. Their links contain the end of the interval.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::Arc;

use capably_protocol::{
    ClientFrame, Format, PresenceAction, PresenceMessage, StatsInterval, frame::Publish,
};
use capably_server::{Server, engine::Memory};
use serde_json::{Value, json};

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

async fn time(server: &Server) -> i64 {
    Http::connect(server).await.request("GET", "/time", &[], b"").await.json()[0].as_i64().unwrap()
}

/// Waits until the end of the earlier request is in the past.
async fn next_millisecond(server: &Server) {
    let start = time(server).await;
    while time(server).await == start {}
}

fn end_of(link: &str) -> i64 {
    let (_, query) = link.split_once('?').unwrap();
    let ends: Vec<_> = query.split('&').filter_map(|pair| pair.strip_prefix("end=")).collect();
    let [end] = ends[..] else { panic!("{link}") };
    end.parse().unwrap()
}

fn resolve(channel: &str, link: String) -> String {
    format!("{channel}/{}", link.strip_prefix("./").unwrap())
}

async fn publish(server: &Server, format: Format, channel: &str, count: usize) {
    for number in 0..count {
        let target = format!("{channel}/messages");
        let body = json!({"data": number.to_string()});
        ask(server, server.key(), format, "POST", &target, &body).await;
    }
}

#[tokio::test]
async fn the_first_page_link_returns_the_same_page_later() {
    let server = server().await;
    for format in FORMATS {
        for direction in ["backwards", "forwards"] {
            let channel = format!("/channels/{}-{direction}", format.name());
            publish(&server, format, &channel, 3).await;
            let get = async |target: &str| {
                ask(&server, server.key(), format, "GET", target, &Value::Null).await
            };
            let target = format!("{channel}/messages?limit=2&direction={direction}");
            let before = time(&server).await;
            let (answer, first) = get(&target).await;
            let after = time(&server).await;
            for relation in ["first", "current", "next"] {
                let end = end_of(&answer.link(relation).unwrap());
                assert!((before..=after).contains(&end), "{relation}");
            }
            next_millisecond(&server).await;
            publish(&server, format, &channel, 2).await;

            // Every page links to the first one, at any later time.
            let (second, rest) = get(&resolve(&channel, answer.link("next").unwrap())).await;
            assert_eq!(rest.as_array().unwrap().len(), 1);
            assert_eq!(second.link("next"), None);
            for link in [&answer, &second].map(|page| page.link("first").unwrap()) {
                let (_, again) = get(&resolve(&channel, link)).await;
                assert_eq!(again, first);
            }
            let (_, all) = get(&format!("{channel}/messages")).await;
            assert_eq!(all.as_array().unwrap().len(), 5);
        }
    }
}

#[tokio::test]
async fn links_keep_a_requested_end() {
    let server = server().await;
    for format in FORMATS {
        for (target, end) in [
            ("/channels/a/messages?end=7&limit=1", 7),
            ("/channels/a/presence/history?limit=1&end=7", 7),
            ("/stats?end=7", 7),
        ] {
            let (answer, _) = ask(&server, server.key(), format, "GET", target, &Value::Null).await;
            assert_eq!(end_of(&answer.link("first").unwrap()), end);
        }
        // A page that starts in the future is empty, and no error.
        let (start, target) = (9_000_000_000_000, "/channels/a/messages?start=9000000000000");
        let (answer, page) = ask(&server, server.key(), format, "GET", target, &Value::Null).await;
        assert_eq!(page, json!([]));
        assert_eq!(end_of(&answer.link("first").unwrap()), start);
        let first = resolve("/channels/a", answer.link("first").unwrap());
        let (answer, _) = ask(&server, server.key(), format, "GET", &first, &Value::Null).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn only_links_of_timed_lists_contain_an_end() {
    let server = server().await;
    for format in FORMATS {
        let before = time(&server).await;
        for target in ["/channels/a/presence/history", "/channels/a/history", "/stats"] {
            let (answer, _) = ask(&server, server.key(), format, "GET", target, &Value::Null).await;
            assert!(end_of(&answer.link("first").unwrap()) >= before, "{target}");
        }
        for target in ["/channels/a/presence", "/channels", "/push/deviceRegistrations"] {
            let (answer, _) = ask(&server, server.key(), format, "GET", target, &Value::Null).await;
            assert!(!answer.link("first").unwrap().contains("end="), "{target}");
        }
        // The list contains the interval in progress.
        let (_, stats) = ask(&server, server.key(), format, "GET", "/stats", &Value::Null).await;
        let newest = stats[0]["intervalId"].as_str().unwrap();
        assert!(StatsInterval::parse(newest).unwrap().end() > before);
    }
}

#[tokio::test]
async fn pages_of_presence_events_have_all_events() {
    // With an engine, and without one.
    for server in [server().await, builder().engine(Arc::new(Memory::new())).start().await.unwrap()]
    {
        let (mut client, _) = Client::connect(&server, Format::Json).await;
        client.attach("room").await;
        for number in 0..7 {
            let member = PresenceMessage {
                action: Some(PresenceAction::Enter),
                client_id: Some(format!("client{number}").into()),
                ..PresenceMessage::default()
            };
            client
                .send(&ClientFrame::Presence(Publish {
                    channel: "room".into(),
                    msg_serial: number,
                    items: [member].into(),
                    params: Default::default(),
                }))
                .await;
            // The event comes before or after the acknowledgement.
            client.next().await;
            client.next().await;
        }
        for direction in ["backwards", "forwards"] {
            let mut found = Vec::new();
            let target = format!("/channels/room/presence/history?limit=2&direction={direction}");
            let mut next = Some(target);
            while let Some(target) = next {
                let (answer, page) =
                    ask(&server, server.key(), Format::Json, "GET", &target, &Value::Null).await;
                let page = page.as_array().unwrap().clone();
                found.extend(page.iter().map(|it| it["clientId"].as_str().unwrap().to_owned()));
                let link = answer.link("next");
                next = link.map(|link| resolve("/channels/room/presence", link));
            }
            let mut expected: Vec<_> = (0..7).map(|number| format!("client{number}")).collect();
            if direction == "backwards" {
                expected.reverse();
            }
            assert_eq!(found, expected, "{direction}");
        }
    }
}
