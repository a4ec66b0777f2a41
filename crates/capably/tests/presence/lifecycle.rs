//! Members enter, update and leave (RTP4, RTP8, RTP9, RTP10).

use std::collections::BTreeSet;

use capably::{
    PresenceAction::{Enter, Leave, Present, Update},
    rest::Direction,
};
use futures_util::future::try_join_all;

use super::*;

in_both_formats! {
    // UTS: realtime/integration/RTP4/bulk-enter-observed-0
    // Spec: RTP4, RTP14d, RTP15b
    async fn many_members_are_seen_from_another_connection(binary) {
        const COUNT: usize = 250;
        let server = server().await;
        let (one, other) = (client(&server, binary).await, client(&server, binary).await);
        let other = attached(&other, "bulk").await;
        let subscribe = || other.presence().subscribe();
        let mut entered = subscribe().action(Enter).action(Present).await.unwrap();
        let one = attached(&one, "bulk").await;
        let enters = (0..COUNT).map(|number| {
            let enter = one.presence().enter_client(format!("user-{number}"));
            enter.data(format!("data-{number}")).into_future()
        });
        try_join_all(enters).await.unwrap();
        let mut clients = BTreeSet::new();
        while clients.len() < COUNT {
            clients.insert(entered.next().await.unwrap().client_id.unwrap());
        }
        for channel in [&other, &one] {
            let members = channel.presence().get().await.unwrap();
            assert_eq!(members.len(), COUNT);
            for number in 0..COUNT {
                let client = format!("user-{number}");
                let member = members.iter().find(|it| it.client_id.as_deref() == Some(&client));
                assert_eq!(member.unwrap().data.as_str(), Some(&*format!("data-{number}")));
            }
        }
        // The channel has no room for another member.
        let error = one.presence().enter_client("one-too-many").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (91003, Some(400)));
        one.presence().leave_client("user-7").await.unwrap();
        one.presence().enter_client("one-too-many").await.unwrap();
    }
}

in_both_formats! {
    // UTS: realtime/integration/RTP8/enter-update-leave-lifecycle-0
    // Spec: RTP12d, RTP8e, RTP10a
    async fn a_member_enters_updates_and_leaves(binary) {
        let server = server().await;
        let own = named(&server, binary, "lifecycle-client").await;
        let watcher = client(&server, binary).await;
        let other = attached(&watcher, "lifecycle").await;
        let mut events = other.presence().subscribe().await.unwrap();
        let own = attached(&own, "lifecycle").await;

        own.presence().enter().data("hello").await.unwrap();
        let event = events.next().await.unwrap();
        assert_eq!((event.action, event.data.as_str()), (Some(Enter), Some("hello")));
        assert_eq!(event.client_id.as_deref(), Some("lifecycle-client"));
        let members = other.presence().get().await.unwrap();
        assert_eq!(readable(&members), [("lifecycle-client", "hello")]);
        assert_eq!(members[0].action, Some(Present));

        own.presence().update().data("world").await.unwrap();
        let event = events.next().await.unwrap();
        assert_eq!((event.action, event.data.as_str()), (Some(Update), Some("world")));
        assert_eq!(readable(&other.presence().get().await.unwrap()), [("lifecycle-client", "world")]);

        own.presence().leave().data("goodbye").await.unwrap();
        let event = events.next().await.unwrap();
        assert_eq!((event.action, event.data.as_str()), (Some(Leave), Some("goodbye")));
        assert_eq!(other.presence().get().await.unwrap(), []);

        // Another client reads the whole history over REST.
        let page = other.presence().history().direction(Direction::Forwards).await.unwrap();
        let did: Vec<_> =
            page.items().iter().map(|it| (it.action.unwrap(), it.data.as_str().unwrap())).collect();
        assert_eq!(did, [(Enter, "hello"), (Update, "world"), (Leave, "goodbye")]);
    }
}

in_both_formats! {
    // Spec: RTP8e
    async fn a_leave_without_data_has_the_data_of_the_enter(binary) {
        let server = server().await;
        let (own, other) =
            (named(&server, binary, "ada").await, client(&server, binary).await);
        let other = attached(&other, "room").await;
        let mut leaves = other.presence().subscribe().action(Leave).await.unwrap();
        let channel = attached(&own, "room").await;
        channel.presence().enter().data("here").await.unwrap();
        channel.presence().leave().await.unwrap();
        assert_eq!(leaves.next().await.unwrap().data.as_str(), Some("here"));
        // A member also leaves when its client detaches or closes.
        channel.presence().enter().data("again").await.unwrap();
        channel.detach().await.unwrap();
        assert_eq!(leaves.next().await.unwrap().data.as_str(), Some("again"));
        channel.attach().await.unwrap();
        channel.presence().enter().data("once more").await.unwrap();
        own.close().await;
        assert_eq!(leaves.next().await.unwrap().data.as_str(), Some("once more"));
        assert_eq!(other.presence().get().await.unwrap(), []);
    }
}

in_both_formats! {
    async fn a_lost_client_leaves_after_a_while(binary) {
        let server = Server::builder()
            .presence_remain(std::time::Duration::from_millis(50))
            .start()
            .await
            .unwrap();
        let watcher = client(&server, binary).await;
        let other = attached(&watcher, "room").await;
        let mut leaves = other.presence().subscribe().action(Leave).await.unwrap();
        // The runtime ends and drops the sockets; the client sends no CLOSE.
        let (endpoint, port, key) =
            (server.endpoint().to_owned(), server.port(), server.key().to_owned());
        let gone = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let options = ClientOptions::new(key).endpoint(endpoint).port(port).tls(false);
                let options = options.use_binary_protocol(binary).client_id("ada");
                let client = Realtime::connect(options).await.unwrap();
                let channel = client.channels().get("room");
                channel.presence().enter().data("here").await.unwrap();
                let id = client.connection().id().unwrap().to_string();
                std::mem::forget((client, channel));
                id
            })
        });
        let connection = gone.await.unwrap();
        let leave = leaves.next().await.unwrap();
        assert_eq!((leave.client_id.as_deref(), leave.data.as_str()), (Some("ada"), Some("here")));
        assert!(!leave.id.unwrap().starts_with(&connection));
    }
}
