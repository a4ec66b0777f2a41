//! Pages (TG).

use capably::{ClientOptions, Message, Result, rest::PaginatedResult};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, ScriptedHttp, respond},
};

fn page(ids: &[&str]) -> Answer {
    respond(200, ids.iter().map(|id| json!({"id": id, "name": "e"})).collect::<Value>())
}

fn next(target: &str) -> String {
    format!("<{target}>; rel=\"next\"")
}

async fn history(http: &ScriptedHttp) -> Result<PaginatedResult<Message>> {
    http.rest().channels().get("test").history().await
}

fn ids(page: &PaginatedResult<Message>) -> Vec<&str> {
    page.items().iter().map(|message| message.id.as_deref().expect("an id")).collect()
}

// UTS: rest/unit/TG1/paginated-result-items-0
// UTS: rest/unit/TG/type-parameter-items-2
#[tokio::test]
async fn a_page_has_items() {
    let http = ScriptedHttp::always(page(&["item1", "item2"]));
    assert_eq!(ids(&history(&http).await.unwrap()), ["item1", "item2"]);
}

// UTS: rest/unit/TG2/has-next-is-last-0
// Spec: TG6, TG7
#[tokio::test]
async fn a_page_reports_whether_it_is_the_last() {
    let more = page(&["item1"]).link(next("/channels/test/messages?cursor=next123"));
    for (answer, has_next) in [(more, true), (page(&["item1"]), false)] {
        let page = history(&ScriptedHttp::always(answer)).await.unwrap();
        assert_eq!((page.has_next(), page.is_last()), (has_next, !has_next));
    }
}

// UTS: rest/unit/TG3/next-fetches-next-page-0
#[tokio::test]
async fn next_loads_the_page_that_the_link_names() {
    for options in both_formats() {
        let http = ScriptedHttp::sequence([
            page(&["page1-item1", "page1-item2"])
                .link(next("/channels/test/messages?cursor=abc123")),
            page(&["page2-item1"]),
        ]);
        let first = http.rest_with(options).channels().get("test").history().await.unwrap();
        assert_eq!(ids(&first), ["page1-item1", "page1-item2"]);
        assert!(first.has_next());
        let second = first.next().await.unwrap().expect("there is a next page");
        assert_eq!(ids(&second), ["page2-item1"]);
        assert!(!second.has_next());
        assert_eq!(http.requests()[1].param("cursor").as_deref(), Some("abc123"));
    }
}

// UTS: rest/unit/TG4/first-returns-first-page-0
#[tokio::test]
async fn first_returns_to_the_first_page() {
    let first = "</channels/test/messages>; rel=\"first\"";
    let http = ScriptedHttp::sequence([
        page(&["item1"]).link(format!("{}, {first}", next("/channels/test/messages?cursor=next"))),
        page(&["item2"]).link(first),
        page(&["item1"]).link(next("/channels/test/messages?cursor=next")),
    ]);
    let page = history(&http).await.unwrap();
    let second = page.next().await.unwrap().expect("there is a next page");
    let first = second.first().await.unwrap().expect("there is a first page");
    assert_eq!(ids(&first), ["item1"]);
    assert_eq!(http.requests()[2].0.url, "https://main.realtime.ably.net/channels/test/messages");
}

/// A page whose second, fourth and fifth items are unreadable, with a link to the next.
fn damaged_page() -> Answer {
    let items = json!([
        {"id": "1", "name": "e"}, {"id": "2", "name": []}, {"id": "3", "name": "e"},
        {"id": "4", "timestamp": {}}, {"id": {}},
    ]);
    respond(200, items).link(next("/channels/test/messages?cursor=more"))
}

fn places(page: &PaginatedResult<Message>) -> Vec<(usize, u32)> {
    page.unreadable().iter().map(|item| (item.index, item.error.code().0)).collect()
}

#[tokio::test]
async fn an_unreadable_item_leaves_the_other_items() {
    for options in both_formats() {
        let http = ScriptedHttp::sequence([damaged_page(), page(&["6"])]);
        let first = http.rest_with(options).channels().get("test").history().await.unwrap();
        assert_eq!(ids(&first), ["1", "3"]);
        assert_eq!(places(&first), [(1, 40013), (2, 40013), (2, 40013)]);
        let second = first.next().await.unwrap().expect("there is a next page");
        assert_eq!((ids(&second), places(&second)), (vec!["6"], vec![]));
    }
}

#[tokio::test]
async fn the_stream_has_an_error_in_the_place_of_an_unreadable_item_and_goes_on() {
    for options in both_formats() {
        let http = ScriptedHttp::sequence([damaged_page(), page(&["6"])]);
        let first = http.rest_with(options).channels().get("test").history().await.unwrap();
        let told: Vec<String> = first
            .items_stream()
            .map(|item| match item {
                Ok(message) => message.id.expect("an id").to_string(),
                Err(error) => error.code().to_string(),
            })
            .collect()
            .await;
        assert_eq!(told, ["1", "40013", "3", "40013", "40013", "6"]);
    }
}

#[tokio::test]
async fn a_page_without_readable_items_links_to_the_next() {
    for options in both_formats() {
        let broken = respond(200, json!([{"name": []}])).link(next("/channels/test/messages?at=2"));
        let http = ScriptedHttp::sequence([broken, page(&["2"])]);
        let first =
            http.rest_with(options).channels().get("test").history().limit(1).await.unwrap();
        assert_eq!((ids(&first), places(&first)), (vec![], vec![(0, 40013)]));
        assert_eq!(ids(&first.next().await.unwrap().expect("there is a next page")), ["2"]);
    }
}

#[tokio::test]
async fn every_type_of_item_is_read_by_itself() {
    for options in both_formats() {
        let broken = |fields: Value| ScriptedHttp::always(respond(200, fields));
        let http = broken(json!([{"clientId": []}, {"clientId": "ada"}]));
        let rest = http.rest_with(options.clone());
        let members = rest.channels().get("test").presence().get().await.unwrap();
        assert_eq!((members.items().len(), members.unreadable().len()), (1, 1));
        let http = broken(json!([{"action": 0, "id": "1"}, {"action": 0, "id": {}}]));
        let rest = http.rest_with(options.clone());
        let annotations = rest.channels().get("test").annotations().get("serial").await.unwrap();
        assert_eq!((annotations.items().len(), annotations.unreadable()[0].index), (1, 1));
        let http = broken(json!([{"id": "device"}, {"id": []}, {"id": "other"}]));
        let rest = http.rest_with(options);
        let devices = rest.push().admin().device_registrations().list().await.unwrap();
        assert_eq!((devices.items().len(), devices.unreadable()[0].index), (2, 1));
    }
}

#[tokio::test]
async fn a_body_without_an_array_of_items_is_an_error() {
    for options in both_formats() {
        for body in [json!(["text"]), json!([{"id": "1"}, 2]), json!({"name": []}), json!("text")] {
            let http = ScriptedHttp::always(respond(200, body.clone()));
            let rest = http.rest_with(options.clone());
            let error = rest.channels().get("test").history().await.unwrap_err();
            assert_eq!((error.code().0, error.status()), (40013, Some(400)), "{body}");
        }
    }
}

#[tokio::test]
async fn current_loads_the_same_page_again() {
    let link = "<./messages?limit=1&at=7>; rel=\"current\"";
    let http = ScriptedHttp::sequence([page(&["a"]).link(link), page(&["a"])]);
    let page = history(&http).await.unwrap().current().await.unwrap();
    assert_eq!(http.requests()[1].param("at").as_deref(), Some("7"));
    assert_eq!(ids(&page.current().await.unwrap()), ["a"]);
    let requests = http.requests();
    assert_eq!(requests[2].0.url, requests[1].0.url, "without a link, the same request");
}

// UTS: rest/unit/TG/empty-result-handling-0
#[tokio::test]
async fn a_page_may_be_empty() {
    let page = history(&ScriptedHttp::always(page(&[]))).await.unwrap();
    assert!(page.items().is_empty());
    assert_eq!((page.has_next(), page.is_last()), (false, true));
}

// UTS: rest/unit/TG/link-header-parsing-1
#[tokio::test]
async fn reads_link_headers() {
    for (link, cursor) in [
        ("</path?cursor=abc>; rel=\"next\"", Some("abc")),
        ("</path?cursor=abc>; rel=\"next\", </path>; rel=\"first\"", Some("abc")),
        ("</path>; rel=\"first\"", None),
        ("", None),
    ] {
        let answer = page(&["item"]);
        let answer = if link.is_empty() { answer } else { answer.link(link) };
        let http = ScriptedHttp::always(answer);
        let page = history(&http).await.unwrap();
        assert_eq!(page.has_next(), cursor.is_some(), "{link}");
        if page.has_next() {
            page.next().await.unwrap().expect("there is a next page");
            assert_eq!(http.requests()[1].param("cursor").as_deref(), cursor);
        }
    }
}

// UTS: rest/unit/TG/next-on-last-page-3
#[tokio::test]
async fn the_last_page_has_no_next_page() {
    let http = ScriptedHttp::always(page(&["item"]));
    let page = history(&http).await.unwrap();
    assert!(page.is_last());
    assert!(page.next().await.unwrap().is_none());
    assert!(page.first().await.unwrap().is_none());
    assert_eq!(http.requests().len(), 1);
}

// UTS: rest/unit/TG/pagination-preserves-auth-4
// UTS: rest/unit/TG/pagination-includes-headers-8
#[tokio::test]
async fn the_next_page_is_requested_with_the_same_headers() {
    let http = ScriptedHttp::sequence([
        page(&["item1"]).link(next("/channels/test/messages?cursor=next")),
        page(&["item2"]),
    ]);
    history(&http).await.unwrap().next().await.unwrap();
    let requests = http.requests();
    assert_eq!(requests[0].0.headers, requests[1].0.headers);
    for name in ["Authorization", "X-Ably-Version", "Ably-Agent"] {
        assert!(requests[1].header(name).is_some(), "{name}");
    }
}

// UTS: rest/unit/TG/pagination-relative-urls-5
#[tokio::test]
async fn links_are_relative_to_the_request() {
    for link in ["/channels/test/messages?page=2", "./messages?page=2", "?page=2"] {
        let http = ScriptedHttp::sequence([page(&["a"]).link(next(link)), page(&["b"])]);
        let rest = http.rest_with(ClientOptions::new(KEY).endpoint("rest.ably.io"));
        let page = rest.channels().get("test").history().await.unwrap();
        page.next().await.unwrap().expect("there is a next page");
        let request = &http.requests()[1];
        assert_eq!(request.authority(), "rest.ably.io", "{link}");
        assert_eq!(request.path(), "/channels/test/messages", "{link}");
        assert_eq!(request.param("page").as_deref(), Some("2"), "{link}");
    }
}

// UTS: rest/unit/TG/multiple-link-relations-6
#[tokio::test]
async fn a_link_header_may_have_several_relations() {
    let link = "</channels/test/messages?page=2>; rel=\"next\", \
                </channels/test/messages?page=1>; rel=\"first\", \
                </channels/test/messages?page=5>; rel=\"last\"";
    let http = ScriptedHttp::always(page(&["item1"]).link(link));
    let page = history(&http).await.unwrap();
    assert!(page.has_next());
    page.first().await.unwrap().expect("there is a first page");
    page.next().await.unwrap().expect("there is a next page");
    let numbers: Vec<_> = http.requests().iter().filter_map(|r| r.param("page")).collect();
    assert_eq!(numbers, ["1", "2"]);
}

// UTS: rest/unit/TG/error-handling-on-next-9
#[tokio::test]
async fn an_error_on_the_next_page_is_passed_on() {
    let error = json!({"error": {"code": 40400, "statusCode": 404, "message": "Not found"}});
    let http = ScriptedHttp::sequence([
        page(&["item1"]).link(next("/channels/test/messages?cursor=invalid")),
        respond(404, error),
    ]);
    let error = history(&http).await.unwrap().next().await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40400, Some(404)));
}

#[tokio::test]
async fn a_link_to_another_host_is_refused() {
    for link in
        ["https://evil.example/messages", "//evil.example/x", "http://main.realtime.ably.net/x"]
    {
        let http = ScriptedHttp::always(page(&["item1"]).link(next(link)));
        let error = history(&http).await.unwrap().next().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40000, Some(400)), "{link}");
        assert!(error.message().contains("another host"), "{error}");
        assert_eq!(http.requests().len(), 1, "no credentials leave for {link}");
    }
}

/// Three pages of two items.
fn three_pages() -> ScriptedHttp {
    ScriptedHttp::new(|request, _| match request.url.split_once("page=") {
        None => page(&["1", "2"]).link(next("./messages?page=2")),
        Some((_, "2")) => page(&["3", "4"]).link(next("./messages?page=3")),
        Some((_, _)) => page(&["5"]),
    })
}

#[tokio::test]
async fn all_pages_are_a_stream() {
    let http = three_pages();
    let pages = history(&http).await.unwrap().pages();
    let pages: Vec<_> = pages.try_collect().await.unwrap();
    assert_eq!(
        pages.iter().map(ids).collect::<Vec<_>>(),
        [vec!["1", "2"], vec!["3", "4"], vec!["5"]]
    );
    assert_eq!(http.requests().len(), 3);
}

#[tokio::test]
async fn the_stream_of_items_loads_pages_when_needed() {
    let http = three_pages();
    let mut items = Box::pin(history(&http).await.unwrap().items_stream());
    let mut seen = Vec::new();
    for expected_requests in [1, 1, 2, 2, 3] {
        seen.push(items.next().await.expect("an item").unwrap().id.expect("an id"));
        assert_eq!(http.requests().len(), expected_requests, "{seen:?}");
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5"]);
    assert!(items.next().await.is_none());
}

#[tokio::test]
async fn a_cycle_of_pages_ends_the_stream_with_an_error() {
    let http = ScriptedHttp::new(|_, index| {
        page(&["x"]).link(next(if index % 2 == 0 { "./messages?p=a" } else { "./messages?p=b" }))
    });
    let mut pages = Box::pin(history(&http).await.unwrap().pages());
    for _ in 0..3 {
        pages.next().await.expect("a page").unwrap();
    }
    let error = pages.next().await.expect("an error").unwrap_err();
    assert_eq!(error.code().0, 40011);
    assert!(pages.next().await.is_none());
    assert_eq!(http.requests().len(), 3);
}

#[tokio::test]
async fn a_page_that_links_to_itself_is_a_cycle() {
    let http = ScriptedHttp::always(page(&["x"]).link(next("./messages")));
    let mut pages = Box::pin(history(&http).await.unwrap().pages());
    pages.next().await.expect("a page").unwrap();
    let error = pages.next().await.expect("an error").unwrap_err();
    assert_eq!(error.code().0, 40011);
    assert_eq!(http.requests().len(), 1, "it is not loaded again");
}

#[tokio::test]
async fn endless_empty_pages_end_the_stream_with_an_error() {
    let http = ScriptedHttp::new(|_, index| page(&[]).link(next(&format!("./messages?p={index}"))));
    let pages = history(&http).await.unwrap().pages().take(200);
    let error = pages.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40011, Some(400)));
    assert!(error.remediation().is_some());
    assert_eq!(http.requests().len(), 101);
}

#[tokio::test]
async fn some_pages_without_items_do_not_end_the_stream() {
    let http = ScriptedHttp::new(|_, index| match index {
        250 => page(&["last"]),
        _ if index % 100 == 99 => page(&["item"]).link(next(&format!("./messages?p={index}"))),
        _ => page(&[]).link(next(&format!("./messages?p={index}"))),
    });
    let items = history(&http).await.unwrap().items_stream();
    assert_eq!(items.try_collect::<Vec<_>>().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_stream_gives_a_page_before_the_error_of_its_link() {
    let http = ScriptedHttp::always(page(&["a"]).link(next("https://evil.example/x")));
    let mut pages = Box::pin(history(&http).await.unwrap().pages());
    assert_eq!(ids(&pages.next().await.expect("a page").unwrap()), ["a"]);
    let error = pages.next().await.expect("an error").unwrap_err();
    assert_eq!(error.code().0, 40000);
    assert!(pages.next().await.is_none());
}
