//! Invalid credentials.

use capably::{ClientOptions, Realtime, realtime::ConnectionState};
use serde_json::json;

use crate::{
    app::{in_both_formats, jwt},
    support::expect_states,
};

/// Expects that a connection with these options fails at the first attempt, with this code and status.
async fn fails(options: ClientOptions, code: u32, status: u16) {
    let client = Realtime::new(options.auto_connect(false)).unwrap();
    let mut changes = client.connection().changes();
    client.connection().connect();
    let states = [ConnectionState::Connecting, ConnectionState::Failed];
    let change = expect_states(&mut changes, &states).await;
    assert_eq!(change.reason.map(|reason| reason.code.0), Some(code));
    assert_eq!(client.connection().state(), ConnectionState::Failed);
    let reason = client.connection().error_reason().unwrap();
    assert_eq!((reason.code().0, reason.status()), (code, Some(status)), "{reason}");
    assert_eq!(client.connection().metrics().attempts, 1);
}

// UTS: realtime/integration/RTN14a/invalid-key-failed-0
// Spec: RTN14a
in_both_formats! {
    async fn an_invalid_key_fails_the_connection(app) {
        fails(app.options().key("invalid.key:secret"), 40101, 401).await;
    }
}

// UTS: realtime/integration/RTN14g/revoked-key-failed-0
// Spec: RTN14g
in_both_formats! {
    async fn a_key_of_no_app_fails_the_connection(app) {
        fails(app.options().key("nonexistent.keyname:keysecret"), 40101, 401).await;
    }
}

// Spec: RTN14a, RTN14g
in_both_formats! {
    async fn the_error_names_the_fault_of_a_key(app) {
        let (name, _) = app.key(0).split_once(':').unwrap();
        let (app_id, _) = name.split_once('.').unwrap();
        fails(app.options().key("abcdef.keyname:secret"), 40400, 404).await;
        fails(app.options().key(format!("{app_id}.unknown:secret")), 40400, 401).await;
        fails(app.options().key(format!("{name}:wrong")), 40101, 401).await;
    }
}

// Spec: RSA4a2, RTN14g
in_both_formats! {
    async fn the_error_names_the_fault_of_a_token(app) {
        let expired = jwt(app.key(0), -5, json!({}));
        let (name, _) = app.key(0).split_once(':').unwrap();
        let forged = jwt(&format!("{name}:wrong"), 3600, json!({}));
        fails(app.options().token("not-a-token"), 40101, 401).await;
        // The client cannot renew the token.
        fails(app.options().token(expired), 40171, 401).await;
        fails(app.options().token(forged), 40171, 401).await;
    }
}
