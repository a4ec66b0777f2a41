//! Events in the log (RSA4a1).

use capably::{ClientOptions, Rest};
use tracing::{Level, subscriber::with_default};

use crate::support::{
    log::{Log, Said},
    scripted_http::KEY,
};

/// The events about renewal when a client is created.
fn said(options: ClientOptions) -> Vec<Said> {
    let log = Log::new(Level::INFO);
    with_default(log.clone(), || Rest::new(options)).unwrap();
    let mut said = log.said();
    said.retain(|said| said.message.contains("renewed"));
    said
}

// Spec: RSA4a1
#[test]
fn a_token_that_cannot_be_renewed_is_logged() {
    let said_of_token = said(ClientOptions::new("hush"));
    let [only] = &*said_of_token else { panic!("{said_of_token:?}") };
    assert_eq!(only.level, Some(Level::INFO));
    assert_eq!(only.context["code"], "40171");
    assert!(only.context["href"].contains("https://help.ably.io/error/40171"), "{only:?}");
    assert!(!format!("{only:?}").contains("hush"));
    assert!(said(ClientOptions::new(KEY).token("hush")).is_empty());
    assert!(said(ClientOptions::new(KEY)).is_empty());
}
