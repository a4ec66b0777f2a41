//! Services that break the protocol of comet, or do not answer. The client reports an error, and every call ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use capably::{
    ClientOptions, Realtime,
    http::{BoxFuture, HttpClient, HttpError, HttpRequest, HttpResponse, HttpStream},
    realtime::ConnectionState,
    transport::Transport,
};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};

const CONNECTED: &str = concat!(
    r#"[{"action":4,"connectionId":"id","connectionDetails":{"connectionKey":"id!key-1","#,
    r#""maxIdleInterval":15000,"connectionStateTtl":120000}}]"#,
    "\n"
);

/// How a response goes on.
#[derive(Clone, Copy)]
enum Rest {
    Ends,
    /// The beginning comes late, and it ends.
    EndsLate,
    Stalls,
    /// The same text again and again.
    Repeats(&'static str),
}

/// A response: status, type, beginning, and how it goes on.
type Script = (u16, &'static str, &'static str, Rest);

const JSON: &str = "application/json";

/// Less than the 25 seconds without a sign of life that end a transport, and more than half of them.
const LATE: Duration = Duration::from_secs(20);

/// A service that answers requests by a script. Requests without one get no answer.
struct Hostile {
    connect: Option<Script>,
    receive: Option<Script>,
    send: Option<Script>,
    /// The pieces that were read.
    read: Arc<AtomicUsize>,
}

impl Hostile {
    fn script(&self, url: &str) -> Option<Script> {
        if url.contains("/connect?") {
            self.connect
        } else if url.contains("/recv?") {
            self.receive
        } else {
            self.send
        }
    }
}

impl HttpClient for Hostile {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        let script = self.script(&request.url);
        Box::pin(async move {
            let Some((status, media_type, body, _)) = script else {
                return std::future::pending().await;
            };
            Ok(HttpResponse::new(status, body).with_header("Content-Type", media_type))
        })
    }

    fn can_stream(&self) -> bool {
        true
    }

    fn open(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpStream, HttpError>> {
        let (script, read) = (self.script(&request.url), Arc::clone(&self.read));
        Box::pin(async move {
            let Some((status, media_type, beginning, rest)) = script else {
                return std::future::pending().await;
            };
            let text = move || stream::iter([Ok(Bytes::from(beginning))]);
            let beginning = text();
            let pieces = match rest {
                Rest::Ends => beginning.boxed(),
                Rest::EndsLate => stream::once(sleep(LATE)).flat_map(move |()| text()).boxed(),
                Rest::Stalls => beginning.chain(stream::pending()).boxed(),
                Rest::Repeats(text) => {
                    let pieces = stream::repeat_with(move || Ok(Bytes::from(text)));
                    beginning.chain(pieces).boxed()
                }
            };
            let mut response = HttpStream::new(
                status,
                pieces.inspect(move |_| {
                    read.fetch_add(1, Ordering::Relaxed);
                }),
            );
            response.headers.push(("Content-Type".to_owned(), media_type.to_owned()));
            Ok(response)
        })
    }
}

/// A client of this service, and the pieces that it has read.
fn client(
    connect: Option<Script>,
    receive: Option<Script>,
    send: Option<Script>,
) -> (Realtime, Arc<AtomicUsize>) {
    let read = Arc::default();
    let http = Hostile { connect, receive, send, read: Arc::clone(&read) };
    let options = ClientOptions::new("app.key:secret")
        .http_client(Arc::new(http))
        .fallback_hosts(Vec::<String>::new())
        .max_frame_size(1024)
        .transports([Transport::Comet]);
    (Realtime::new(options).unwrap(), read)
}

/// The first state of a client that is neither CONNECTING nor CONNECTED, with the code and the status of its reason.
async fn end(client: &Realtime) -> (ConnectionState, u32, Option<u16>) {
    let mut changes = client.connection().changes();
    let state = |state| !matches!(state, ConnectionState::Connecting | ConnectionState::Connected);
    loop {
        let change = changes.next().await.unwrap();
        if state(change.current) {
            let reason = change.reason.unwrap();
            return (change.current, reason.code.0, Some(reason.status_code));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn responses_that_are_not_comet_are_errors() {
    let (disconnected, failed) = (ConnectionState::Disconnected, ConnectionState::Failed);
    let table: [(Script, (ConnectionState, u32, u16)); 10] = [
        ((200, "text/html", "<html>sign in</html>", Rest::Ends), (disconnected, 80000, 200)),
        ((200, "text/html", CONNECTED, Rest::Ends), (disconnected, 80000, 200)),
        ((200, JSON, "garbage\n", Rest::Stalls), (disconnected, 80000, 200)),
        ((200, JSON, "{}\n", Rest::Stalls), (disconnected, 80000, 200)),
        ((200, JSON, "[", Rest::Ends), (disconnected, 80000, 200)),
        ((200, JSON, "", Rest::Ends), (disconnected, 80000, 0)),
        ((500, JSON, "oh", Rest::Ends), (disconnected, 80000, 500)),
        ((404, "text/plain", "no such page", Rest::Ends), (disconnected, 80000, 404)),
        (
            (401, JSON, r#"{"error":{"code":40101,"statusCode":401,"message":"no"}}"#, Rest::Ends),
            (failed, 40101, 401),
        ),
        (
            (401, JSON, r#"[{"action":9,"error":{"code":40400,"statusCode":404}}]"#, Rest::Ends),
            (failed, 40400, 404),
        ),
    ];
    for (script, (state, code, status)) in table {
        let (client, _) = client(Some(script), None, None);
        assert_eq!(end(&client).await, (state, code, Some(status)), "{} {:?}", script.0, script.2);
        client.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_goes_wrong_ends_the_transport() {
    let table: [(Script, u32); 3] = [
        ((200, JSON, "[{\"action\":0}]\ngarbage\n", Rest::Stalls), 80013),
        (
            (
                200,
                JSON,
                "",
                Rest::Repeats("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
            ),
            80013,
        ),
        ((500, JSON, "oh", Rest::Ends), 80003),
    ];
    for (receive, code) in table {
        let connect = (200, JSON, CONNECTED, Rest::Ends);
        let (client, read) = client(Some(connect), Some(receive), None);
        let (state, found, _) = end(&client).await;
        assert_eq!((state, found), (ConnectionState::Disconnected, code), "{:?}", receive.2);
        // The limit of a line is 64 times the limit of a client's frame, in pieces of 56 bytes.
        assert!(
            read.load(Ordering::Relaxed) < 64 * 1024 / 56 + 10,
            "an endless line is not collected"
        );
        client.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_is_noticed() {
    let (client, _) = client(Some((200, JSON, CONNECTED, Rest::Stalls)), None, None);
    client.connection().when(ConnectionState::Connected).await.unwrap();
    let start = Instant::now();
    let (state, code, _) = end(&client).await;
    assert_eq!((state, code), (ConnectionState::Disconnected, 80014));
    assert_eq!(
        start.elapsed(),
        Duration::from_secs(25),
        "maxIdleInterval and realtimeRequestTimeout"
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_response_without_frames_is_a_sign_of_life() {
    let connect = Some((200, JSON, CONNECTED, Rest::Ends));
    let (client, read) = client(connect, Some((200, JSON, "[]", Rest::EndsLate)), None);
    client.connection().when(ConnectionState::Connected).await.unwrap();
    let mut changes = client.connection().changes();
    let first = timeout(LATE * 10, changes.next()).await;
    assert!(first.is_err(), "{first:?}");
    assert_eq!(read.load(Ordering::Relaxed), 1 + 9);
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_is_given_up() {
    let (client, _) = client(None, None, None);
    let start = Instant::now();
    let (state, code, _) = end(&client).await;
    assert_eq!((state, code), (ConnectionState::Disconnected, 80014));
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn calls_end_when_requests_that_send_do_not() {
    let (client, _) = client(Some((200, JSON, CONNECTED, Rest::Stalls)), None, None);
    client.connection().when(ConnectionState::Connected).await.unwrap();
    let channel = client.channels().get("stalled");
    let (published, attached) = tokio::join!(channel.publish("n", "1"), channel.attach());
    assert!(published.is_err() && attached.is_err(), "{published:?} {attached:?}");
    client.close().await;
    assert_eq!(client.connection().state(), ConnectionState::Closed);
}

#[tokio::test(start_paused = true)]
async fn frames_in_the_answer_of_a_request_that_sends_are_received() {
    let connect = Some((200, JSON, CONNECTED, Rest::Stalls));
    let acknowledged = r#"[{"action":1,"msgSerial":0,"count":1,"res":[{"serials":["s"]}]}]"#;
    let (served, _) = client(connect, None, Some((200, JSON, acknowledged, Rest::Ends)));
    served.channels().get("answered").publish("n", "1").await.unwrap();
    served.close().await;
    let refused = r#"[{"action":9,"error":{"code":40101,"statusCode":401,"message":"no"}}]"#;
    let (failing, _) = client(connect, None, Some((401, JSON, refused, Rest::Ends)));
    let (failed, published) = tokio::join!(
        end(&failing),
        failing.channels().get("refused").publish("n", "1").into_future()
    );
    assert_eq!(failed, (ConnectionState::Failed, 40101, Some(401)));
    assert_eq!(published.unwrap_err().code().0, 40101);
}
