//! The members of several channels in one request.

use capably::{BatchPresence, Realtime, Rest};

use crate::{in_both_formats, support::App};

/// A connected client with every capability and any client id.
async fn host(app: &App) -> Realtime {
    app.realtime_with(|options| options.key(app.key(0))).await
}

async fn enter(realtime: &Realtime, channel: &str, client_id: &str, data: &str) {
    let channel = realtime.channels().get(channel);
    channel.presence().enter_client(client_id).data(data).await.unwrap();
}

/// The members of a channel: client id and data, in the order of their ids.
fn members(found: &BatchPresence) -> Vec<(&str, &str)> {
    let mut members: Vec<_> = found
        .presence
        .iter()
        .map(|member| (member.client_id.as_deref().unwrap(), member.data.as_str().unwrap()))
        .collect();
    members.sort_unstable();
    members
}

fn limited(app: &App) -> Rest {
    app.rest_with(|options| options.key(app.key(2)))
}

in_both_formats! {
    // UTS: rest/integration/RSC24/batch-presence-multiple-channels-0
    // Spec: BGR2, BGR2a, BGR2b
    async fn members_of_several_channels_are_found(app) {
        let realtime = host(&app).await;
        enter(&realtime, "batch-presence-a", "user-1", "data-a1").await;
        enter(&realtime, "batch-presence-a", "user-2", "data-a2").await;
        enter(&realtime, "batch-presence-b", "user-3", "data-b1").await;

        let channels = ["batch-presence-a", "batch-presence-b"];
        let result = app.rest().batch_presence(channels).await.unwrap();
        assert_eq!((result.success_count, result.failure_count), (2, 0));
        let [Ok(a), Ok(b)] = &result.results[..] else { panic!("{result:?}") };
        assert_eq!([&a.channel, &b.channel], channels);
        assert_eq!(members(a), [("user-1", "data-a1"), ("user-2", "data-a2")]);
        assert_eq!(members(b), [("user-3", "data-b1")]);
        realtime.close().await;
    }
}

in_both_formats! {
    // UTS: rest/integration/RSC24/restricted-key-channel-failure-1
    // Spec: BGF2, BGF2a, BGF2b
    async fn a_channel_without_the_capability_fails_alone(app) {
        let realtime = host(&app).await;
        enter(&realtime, "channel6", "member-1", "hello").await;
        enter(&realtime, "denied-batch", "member-2", "world").await;

        let result = limited(&app).batch_presence(["channel6", "denied-batch"]).await.unwrap();
        assert_eq!((result.success_count, result.failure_count), (1, 1));
        let [Ok(allowed), Err(denied)] = &result.results[..] else { panic!("{result:?}") };
        assert_eq!(allowed.channel, "channel6");
        assert_eq!(members(allowed), [("member-1", "hello")]);
        assert_eq!(denied.channel, "denied-batch");
        assert_eq!((denied.error.code.0, denied.error.status_code), (40160, 401));
        realtime.close().await;
    }
}

in_both_formats! {
    // UTS: rest/integration/RSC24/empty-channel-presence-2
    async fn a_channel_may_have_no_members(app) {
        let realtime = host(&app).await;
        enter(&realtime, "batch-populated", "someone", "here").await;
        let channels = ["batch-empty", "batch-populated"];
        let result = app.rest().batch_presence(channels).await.unwrap();
        assert_eq!((result.success_count, result.failure_count), (2, 0));
        let [Ok(empty), Ok(populated)] = &result.results[..] else { panic!("{result:?}") };
        assert_eq!([&empty.channel, &populated.channel], channels);
        assert_eq!(members(empty), []);
        assert_eq!(members(populated), [("someone", "here")]);
        realtime.close().await;
    }
}
