//! `Debug` of credentials and tokens tells which they are, without the secret.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use capably_core::{Config, Credentials, Grant};

// Spec: RSA4
#[test]
fn debug_shows_no_secret() {
    let key = Credentials::Key("app.key:s3cr3t".parse().unwrap());
    let grant = Grant { token: "s3cr3t".into(), generation: 7, renewable: true };
    let config = Config::new(key.clone());
    for (text, shown) in [
        (format!("{key:?}"), "app.key"),
        (format!("{config:?}"), "app.key"),
        (format!("{:?}", Credentials::Tokens), "Tokens"),
        (format!("{grant:?}"), "generation: 7"),
    ] {
        assert!(text.contains(shown) && !text.contains("s3cr3t"), "{text}");
    }
}
