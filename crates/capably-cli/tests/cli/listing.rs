//! Long lists: they are printed as they arrive, and end when nobody reads them.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::{
    fake::{self, Page},
    support::{Server, finish, stderr, stdout, succeeded},
};

/// Names of a page.
const PAGE: u32 = 1_000;

/// A service whose lists have this number of pages of 1,000 items, or never end.
fn service(pages: Option<u32>) -> Server {
    fake::serve(move |target| {
        let (list, _) = target.split_once('?').unwrap_or((target, ""));
        let number: u32 = target.rsplit_once("page=").map_or(0, |(_, n)| n.parse().unwrap());
        let items = (0..PAGE).map(|n| {
            let name = format!("channel-{}", number * PAGE + n);
            json!({ "channelId": name, "channel": name, "clientId": name, "id": name, "data": name })
        });
        let next = pages.is_none_or(|pages| number + 1 < pages);
        let next = next.then(|| format!("{list}?page={}", number + 1));
        Page { status: 200, body: Value::from_iter(items), next }
    })
}

const LISTS: [&[&str]; 4] = [
    &["channels", "list"],
    &["push", "devices", "list"],
    &["push", "subscriptions", "list"],
    &["history", "c"],
];

#[test]
fn lists_by_the_ten_thousand_are_printed_whole() {
    let service = service(Some(11));
    for words in LISTS {
        let words = [words, &["--all", "--format", "json"]].concat();
        let text = succeeded(service.run(words.iter().copied()));
        let found = text.lines().filter(|line| line.contains("channel-")).count();
        assert_eq!(found, 11_000, "{words:?}");
        let objects = succeeded(service.run(words.iter().copied().chain(["--json"])));
        assert_eq!(objects.lines().count(), 11_000, "{words:?}");
        let limited = service
            .run(words.iter().copied().filter(|it| *it != "--all").chain(["--limit", "1500"]));
        assert_eq!(stderr(&limited), "There are more: use --limit or --all\n", "{words:?}");
        let found = stdout(&limited).lines().filter(|line| line.contains("channel-")).count();
        assert_eq!(found, 1_500, "{words:?}");
    }
}

#[test]
fn a_list_is_printed_page_by_page_and_ends_without_an_error_when_nobody_reads_it() {
    // It has no end, so it is printed while it is read.
    let service = service(None);
    for words in LISTS {
        for json in [&[][..], &["--json"]] {
            let words = [words, &["--all", "--format", "json"], json].concat();
            let mut child = service.client(words.iter().copied()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            // The reader is gone after these lines.
            let read = lines.take(2_500).filter(|line| line.is_ok()).count();
            assert_eq!(read, 2_500);
            let output = finish(child);
            assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{words:?}");
        }
    }
}
