//! Waits with time limits.

use std::time::Duration;

use capably::realtime::{Changes, ConnectionState, ConnectionStateChange};
use tokio::time::timeout;

/// Longer than any step of a test may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits for these states, which must come in this order and with no other between them. Returns the last
/// change.
pub(crate) async fn expect_states(
    changes: &mut Changes<ConnectionStateChange>,
    states: &[ConnectionState],
) -> ConnectionStateChange {
    let mut last = None;
    for state in states {
        let change = within(changes.next()).await.expect("the client lives");
        assert_eq!(change.current, *state, "{change:?}");
        last = Some(change);
    }
    last.expect("some states")
}
