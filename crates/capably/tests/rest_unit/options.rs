//! Options that do not go together (TO, RSC1b).

use capably::{ClientOptions, Rest, TokenDetails};

use crate::support::scripted_http::KEY;

// Its second case is about `restHost`, which there is none of; an option in conflict with another stands in
// its place.
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
