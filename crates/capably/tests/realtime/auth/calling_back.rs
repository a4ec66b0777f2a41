//! Auth callbacks that use the client for which they provide a token (RSA4c, RSA4e).

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use capably::{
    ClientOptions, Error, Realtime, http::BoxFuture, realtime::ConnectionState,
    rest::WrapperSdkProxyOptions,
};
use capably_protocol::{Format, ServerFrame};
use tokio::time::Instant;

use crate::{in_both_formats, support::*, tokens::reason};

type Act = fn(Realtime) -> BoxFuture<'static, Result<(), Error>>;

/// A client whose callback runs this with the client before it returns a token, and the number of its calls.
/// The first `spared` calls only return a token.
fn client(format: Format, spared: usize, act: Act) -> (Realtime, Service, Arc<AtomicUsize>) {
    let (own, calls) = (Arc::new(OnceLock::<Realtime>::new()), Arc::new(AtomicUsize::new(0)));
    let (it, counted) = (Arc::clone(&own), Arc::clone(&calls));
    let options = ClientOptions::default().fallback_hosts(NO_HOSTS).auth_callback(move |_| {
        let call = counted.fetch_add(1, Ordering::Relaxed) + 1;
        let client = it.get().expect("the client is there").clone();
        async move {
            if call > spared {
                act(client).await?;
            }
            Ok::<_, Error>(format!("token-{call}"))
        }
    });
    let (client, service) = client_of(format, options);
    own.set(client.clone()).expect("once");
    (client, service, calls)
}

/// Calls that wait for the connection, or need a token over REST.
const NEEDY: [(&str, Act); 13] = [
    ("publish", |client| {
        Box::pin(async move { client.channels().get("ch").publish("n", "d").await.map(drop) })
    }),
    ("attach", |client| Box::pin(async move { client.channels().get("ch").attach().await })),
    ("subscribe", |client| {
        Box::pin(async move { client.channels().get("ch").subscribe().await.map(drop) })
    }),
    ("enter", |client| {
        Box::pin(async move { client.channels().get("ch").presence().enter_client("c").await })
    }),
    ("members", |client| {
        Box::pin(async move { client.channels().get("ch").presence().get().await.map(drop) })
    }),
    ("presence", |client| {
        Box::pin(async move { client.channels().get("ch").presence().subscribe().await.map(drop) })
    }),
    ("ping", |client| Box::pin(async move { client.connection().ping().await.map(drop) })),
    ("when", |client| {
        Box::pin(
            async move { client.connection().when(ConnectionState::Connected).await.map(drop) },
        )
    }),
    ("authorize", |client| Box::pin(async move { client.auth().authorize().await.map(drop) })),
    ("request_token", |client| {
        Box::pin(async move { client.auth().request_token().await.map(drop) })
    }),
    ("history", |client| {
        Box::pin(async move { client.channels().get("ch").history().await.map(drop) })
    }),
    ("REST", |client| {
        Box::pin(async move { client.rest().channels().get("ch").history().await.map(drop) })
    }),
    ("a wrapper SDK's", |client| {
        Box::pin(async move {
            let options = WrapperSdkProxyOptions::new().agent("wrapper", None);
            let proxy = client.create_wrapper_sdk_proxy(&options)?;
            proxy.rest().stats().await?;
            Ok(())
        })
    }),
];

// Spec: RSA4c1, RSA4c2
in_both_formats! {
    async fn calls_of_a_callback_that_need_its_token_fail_at_once(format) {
        for (name, act) in NEEDY {
            let (client, _service, calls) = client(format, 0, act);
            let start = Instant::now();
            client.connection().connect();
            client.connection().when(ConnectionState::Disconnected).await.expect(name);
            assert_eq!(start.elapsed(), Duration::ZERO, "{name}");
            assert_eq!(reason(&client), Some((80019, Some(401), Some(40170))), "{name}");
            assert_eq!(calls.load(Ordering::Relaxed), 1, "{name}");
        }
    }
}

// Spec: RTN22
in_both_formats! {
    async fn a_callback_may_use_the_live_connection(format) {
        let (client, mut service, calls) = client(format, 1, |client| {
            Box::pin(async move { client.channels().get("ch").publish("n", "d").await.map(drop) })
        });
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        peer.send(ServerFrame::Auth);
        assert_eq!(peer.message().await, (0, vec!["n".to_owned()]));
        peer.send(ack(0, 1));
        assert_eq!(peer.expect_auth().await, "token-2");
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}

// Spec: RTC8
in_both_formats! {
    async fn an_authorization_by_a_task_of_the_callback_ends(format) {
        let (client, _service, calls) = client(format, 0, |client| {
            Box::pin(async move {
                let asked = async move { client.auth().authorize().await.map(drop) };
                tokio::spawn(asked).await.unwrap()
            })
        });
        let start = Instant::now();
        let error = client.auth().authorize().await.unwrap_err();
        assert_eq!((error.code().0, start.elapsed()), (40170, Duration::ZERO));
        assert_eq!(calls.load(Ordering::Relaxed), 128);
    }
}
