//! Lost messages on a channel with deltas.

use capably::{Data, Plugin};
use capably_protocol::frame::Action;
use capably_server::faults::Rule;

use super::*;
use crate::deltas::{Counting, delta_options, reattaching, test_data};

// UTS: realtime/integration/RTL18/recovery-message-id-mismatch-0
// Spec: RTL18, RTL18b, RTL18c, RTL20
in_both_formats! {
    // The base of the delta is lost, so it is not the last received message.
    async fn a_delta_with_a_lost_base_starts_a_recovery(scene) {
        let name = "delta-recovery-mismatch";
        let decoder = Counting::default();
        let plugin = Plugin::vcdiff(decoder.clone());
        let client = scene.connected(|options| options.plugin(plugin)).await;
        let channel = client.channels().get_with(name, delta_options());
        let mut messages = channel.subscribe().await.unwrap();
        let mut changes = channel.changes();
        let data = test_data();
        let mut received = Vec::new();
        for (number, data) in data[..3].iter().enumerate() {
            channel.publish(number.to_string(), data.clone()).await.unwrap();
            received.push(within(messages.next()).await.unwrap());
        }
        assert_eq!(decoder.count(), 2);
        scene.faults.add_first(Rule::to_client().action(Action::Message).channel(name).times(1).suppress());
        for (number, data) in data.iter().enumerate().skip(3) {
            channel.publish(number.to_string(), data.clone()).await.unwrap();
        }
        while received.len() < data.len() {
            received.push(within(messages.next()).await.unwrap());
        }
        for (number, (message, data)) in received.into_iter().zip(data).enumerate() {
            assert_eq!(message.name.as_deref(), Some(&*number.to_string()));
            assert_eq!(message.data, Data::Json(data));
        }
        assert_eq!(reattaching(&mut changes), [Some(40018.into())]);
        // The fourth message came in full, and the fifth as a delta to it.
        assert_eq!(decoder.count(), 3);
        client.close().await;
    }
}
