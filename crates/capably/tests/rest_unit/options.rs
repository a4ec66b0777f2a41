//! Options that contradict each other (TO, RSC1b).

use std::time::Duration;

use capably::{ClientOptions, Rest, TokenDetails};
use serde_json::json;

use crate::support::scripted_http::{KEY, ScriptedHttp, respond};

// The second case of the UTS test is about `restHost`, which this SDK does not have; another pair of conflicting
// options replaces it.
// UTS: rest/unit/TO/conflicting-options-validation-1
#[test]
fn options_that_contradict_each_other_are_refused() {
    async fn token(_: capably::TokenParams) -> Result<TokenDetails, capably::Error> {
        Ok(TokenDetails::new("t"))
    }
    Rest::new(ClientOptions::new(KEY).auth_callback(token)).expect("the callback goes first");

    let details = TokenDetails::new("t").client_id("eve");
    let error = Rest::new(ClientOptions::default().token_details(details).client_id("ada"));
    let error = error.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40102, Some(401)));
    assert!(error.message().contains("client_id"), "{error}");

    let error = Rest::new(ClientOptions::default()).unwrap_err();
    assert_eq!((error.code().0, error.status()), (40106, Some(401)));
    assert!(error.message().contains("key") && error.message().contains("token"), "{error}");
}

/// The least and the largest value of every duration and size of a REST client.
#[tokio::test(start_paused = true)]
async fn no_time_or_size_is_too_small_or_too_large() {
    let times = [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1), Duration::MAX];
    for binary in [false, true] {
        for time in times {
            for count in [0, 1, usize::MAX] {
                let options = ClientOptions::new(KEY)
                    .use_binary_protocol(binary)
                    .http_open_timeout(time.max(Duration::from_nanos(1)))
                    .http_request_timeout(time.max(Duration::from_nanos(1)))
                    .http_max_retry_duration(time)
                    .fallback_retry_timeout(time)
                    .http_max_retry_count(count)
                    .max_message_size(count.max(1))
                    .max_frame_size(count.max(1));
                // Every host fails: the client requests one after the other, and then returns the error.
                let http = ScriptedHttp::always(respond(503, json!({})));
                let error = http.rest_with(options.clone()).time().await.unwrap_err();
                assert_eq!(error.status(), Some(503), "{time:?} {count} {error}");
                let expected = if time.is_zero() { 1 } else { 1 + count.min(5) };
                assert_eq!(http.requests().len(), expected, "{time:?} {count}");
                let http = ScriptedHttp::always(respond(200, json!([7])));
                assert_eq!(http.rest_with(options).time().await.unwrap(), 7);
            }
        }
    }
}
