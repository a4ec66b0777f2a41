//! The service's time.

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: rest/integration/RSC16/time-returns-server-time-0
    async fn the_service_returns_its_time(app) {
        let before = now();
        let time = app.rest().time().await.unwrap();
        assert!((before..=now()).contains(&time), "{before} <= {time}");
    }
}
