//! Errors of the service, and failures on the way to it.

use crate::{in_both_formats, support::*};

in_both_formats! {
    async fn errors_of_the_service_have_every_field(app) {
        let wrong = format!("{}:s3cr3t", key_name(app.key(0)));
        let rest = app.rest_with(|options| options.key(wrong));
        let error = rest.channels().get("c").history().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40101, Some(401)), "{error}");
        assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");

        let rest = app.rest_with(|options| options.key(app.key(0)).max_message_size(1 << 20));
        let error = rest.channels().get("c").publish("n", "x".repeat(70_000)).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40009, Some(400)), "{error}");
    }
}

in_both_formats! {
    async fn a_stopped_server_is_a_clear_error(app) {
        let rest = app.rest();
        rest.time().await.unwrap();
        app.server.shutdown().await;
        let error = rest.time().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (80000, None), "{error}");
    }
}
