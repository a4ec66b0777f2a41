//! Revoked tokens.

use capably::{
    Realtime, Rest, TokenParams,
    auth::RevocationTarget,
    realtime::{ConnectionState, ConnectionStateChange},
};
use serde_json::json;

use crate::{in_both_formats, support::*};

/// A client with the key whose tokens can be revoked, and one that is connected with such a token.
async fn clients(app: &App, client_id: &str) -> (Rest, Realtime) {
    let rest = app.rest_with(|options| options.key(app.key(4)));
    let params = TokenParams::new().client_id(client_id);
    let details = rest.auth().request_token().params(params).await.unwrap();
    let realtime = app.realtime_with(|options| options.token_details(details)).await;
    // Only tokens issued before the revocation are revoked.
    next_millisecond(&rest).await;
    (rest, realtime)
}

in_both_formats! {
    // UTS: rest/integration/RSA17g/revoke-token-prevents-use-0
    async fn a_revoked_token_ends_its_connection(app) {
        let (rest, realtime) = clients(&app, "revoke-client").await;
        let mut changes = realtime.connection().changes();
        let target = RevocationTarget::client_id("revoke-client");
        let result = rest.auth().revoke_tokens([target]).await.unwrap();
        assert_eq!((result.success_count, result.failure_count), (1, 0));
        let [Ok(revoked)] = &result.results[..] else { panic!("{result:?}") };
        assert_eq!(revoked.target, "clientId:revoke-client");
        assert!(revoked.issued_before > 0 && revoked.applies_at >= revoked.issued_before);

        assert_ended(&changes.next().await.unwrap());
    }
}

/// The token cannot be renewed, so the connection fails where the UTS has it disconnected (RTN15h1), and
/// the service's error is the cause (RSA4a2).
fn assert_ended(change: &ConnectionStateChange) {
    assert_eq!(change.previous, ConnectionState::Connected);
    assert_eq!(change.current, ConnectionState::Failed);
    let reason = change.reason.as_ref().unwrap();
    assert_eq!(reason.code.0, 40171);
    assert_eq!(reason.cause.as_ref().unwrap().code.0, 40141);
}

in_both_formats! {
    // UTS: rest/integration/RSA17d/token-auth-revoke-rejected-0
    async fn a_client_with_a_token_cannot_revoke_tokens(app) {
        let token = jwt(app.key(4), 3600, json!({}));
        let rest = app.rest_with(|options| options.token(token));
        let revoke = rest.auth().revoke_tokens([RevocationTarget::client_id("anyone")]);
        let error = revoke.await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40162, Some(401)), "{error}");
    }
}

in_both_formats! {
    // UTS: rest/integration/RSA17e/issued-before-reauth-margin-0
    async fn a_revocation_may_be_delayed_and_spare_newer_tokens(app) {
        let rest = app.rest_with(|options| options.key(app.key(4)));
        let time = rest.time().await.unwrap();
        let issued_before = time - 20 * 60 * 1000;
        let target = RevocationTarget::client_id("revoke-margin-client");
        let revoke = rest.auth().revoke_tokens([target]).issued_before(issued_before);
        let result = revoke.allow_reauth_margin(true).await.unwrap();
        assert_eq!(result.success_count, 1);
        let [Ok(revoked)] = &result.results[..] else { panic!("{result:?}") };
        assert_eq!(revoked.issued_before, issued_before);
        assert!(revoked.applies_at > time + 30 * 1000, "{revoked:?}");
    }
}

in_both_formats! {
    // UTS: rest/integration/RSA17c/mixed-success-failure-0
    async fn an_invalid_target_fails_alone(app) {
        let (rest, realtime) = clients(&app, "revoke-mixed-client").await;
        let mut changes = realtime.connection().changes();
        let targets = [
            RevocationTarget::client_id("revoke-mixed-client"),
            RevocationTarget::new("invalidType", "abc"),
        ];
        let result = rest.auth().revoke_tokens(targets).await.unwrap();
        assert_eq!((result.success_count, result.failure_count), (1, 1));
        let [Ok(revoked), Err(failure)] = &result.results[..] else { panic!("{result:?}") };
        assert_eq!(revoked.target, "clientId:revoke-mixed-client");
        assert!(revoked.issued_before > 0 && revoked.applies_at >= revoked.issued_before);
        assert_eq!(failure.target, "invalidType:abc");
        assert_eq!(failure.error.status(), Some(400));

        assert_ended(&changes.next().await.unwrap());
    }
}
