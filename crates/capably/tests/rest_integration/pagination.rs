//! Pages.

use std::collections::HashSet;

use capably::{
    Message,
    rest::{Direction, PaginatedResult},
};
use futures_util::TryStreamExt;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: rest/integration/TG1/items-and-navigation-0
    async fn a_page_has_a_link_to_the_next(app) {
        let channel = app.rest().channels().get("pagination-basic");
        publish_events(&channel, 15).await;
        let page = channel.history().limit(5).await.unwrap();
        assert_eq!(page.items().len(), 5);
        assert_eq!((page.has_next(), page.is_last()), (true, false));
    }
}

in_both_formats! {
    // UTS: rest/integration/TG3/next-retrieves-page-0
    async fn pages_do_not_overlap(app) {
        let channel = app.rest().channels().get("pagination-next");
        publish_events(&channel, 12).await;
        let first = channel.history().limit(5).await.unwrap();
        let second = first.next().await.unwrap().expect("a second page");
        let third = second.next().await.unwrap().expect("a third page");
        let pages = [&first, &second, &third];
        assert_eq!(pages.map(|page| page.items().len()), [5, 5, 2]);
        let items = pages.iter().flat_map(|page| page.items());
        let ids: HashSet<_> = items.map(|message| message.id.as_ref().unwrap()).collect();
        assert_eq!(ids.len(), 12);
    }
}

in_both_formats! {
    // UTS: rest/integration/TG4/first-retrieves-page-0
    async fn first_returns_the_same_items(app) {
        let channel = app.rest().channels().get("pagination-first");
        publish_events(&channel, 10).await;
        let page = channel.history().limit(3).await.unwrap();
        let second = page.next().await.unwrap().expect("a second page");
        let first = second.first().await.unwrap().expect("a first page");
        assert_eq!(names(first.items()), ["event-10", "event-9", "event-8"]);
        let ids = |page: &PaginatedResult<Message>| -> Vec<_> {
            page.items().iter().map(|message| message.id.clone().unwrap()).collect()
        };
        assert_eq!(ids(&first), ids(&page));
    }
}

in_both_formats! {
    // UTS: rest/integration/TG5/iterate-all-pages-0
    async fn all_pages_together_contain_all_messages(app) {
        let channel = app.rest().channels().get("pagination-iterate");
        publish_events(&channel, 25).await;
        let mut page = channel.history().limit(7).await.unwrap();
        let mut all = Vec::new();
        loop {
            all.extend(names(page.items()).into_iter().map(str::to_owned));
            let Some(next) = page.next().await.unwrap() else { break };
            page = next;
        }
        let expected: Vec<_> = (1..=25).rev().map(|n| format!("event-{n}")).collect();
        assert_eq!(all, expected);
    }
}

in_both_formats! {
    // UTS: rest/integration/TG3/next-last-page-null-1
    async fn the_last_page_has_no_next(app) {
        let channel = app.rest().channels().get("pagination-lastnext");
        publish_events(&channel, 3).await;
        let page = channel.history().limit(10).await.unwrap();
        assert_eq!(page.items().len(), 3);
        assert_eq!((page.has_next(), page.is_last()), (false, true));
        assert!(page.next().await.unwrap().is_none());
    }
}

in_both_formats! {
    // Spec: TG6, TG7
    async fn pages_contain_all_messages_once_and_in_order(app) {
        let channel = app.rest().channels().get("pages");
        let messages: Vec<_> =
            (0..25).map(|n| Message::new(format!("n{n}"), n.to_string())).collect();
        let result = channel.publish_messages(messages).await.unwrap();
        assert_eq!(result.serials.len(), 25);

        let oldest_first: Vec<_> = (0..25).map(|n| format!("n{n}")).collect();
        let newest_first: Vec<_> = oldest_first.iter().rev().cloned().collect();

        let first = channel.history().limit(10).await.unwrap();
        assert_eq!(names(first.items()), newest_first[..10]);
        assert_eq!((first.has_next(), first.is_last()), (true, false));
        let second = first.next().await.unwrap().expect("a second page");
        assert_eq!(names(second.items()), newest_first[10..20]);
        let third = second.next().await.unwrap().expect("a third page");
        assert_eq!(names(third.items()), newest_first[20..]);
        assert_eq!((third.has_next(), third.is_last()), (false, true));
        let again = third.first().await.unwrap().expect("the first page");
        assert_eq!(names(again.items()), newest_first[..10]);
        let current = second.current().await.unwrap();
        assert_eq!(names(current.items()), newest_first[10..20]);

        let history = channel.history().direction(Direction::Forwards).limit(7);
        let all: Vec<_> = history.await.unwrap().items_stream().try_collect().await.unwrap();
        assert_eq!(names(&all), oldest_first);
    }
}
