//! Typed channels without a runtime.

use capably::{Realtime, blocking::Wait};

use crate::{TestServer, in_both_formats};

in_both_formats!(
    fn a_thread_iterates_over_values(binary) {
        let server = TestServer::start();
        let client = Realtime::connect(server.options(binary)).wait().unwrap();
        let points = client.channels().get("points").typed::<(i32, i32)>();
        let mut received = points.subscribe().wait().unwrap();
        points.publish("p", &(1, 2)).wait().unwrap();
        points.publish_data(&(3, 4)).wait().unwrap();
        let received = received.blocking_iter().unwrap().take(2).map(|point| point.unwrap().value);
        assert_eq!(received.collect::<Vec<_>>(), [(1, 2), (3, 4)]);
        let page = points.history().wait().unwrap();
        assert_eq!(page.items()[0].value, (3, 4));
    }
);
