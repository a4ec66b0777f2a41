//! Payloads, from one format to the other.

use capably::{
    CipherParams, Data,
    rest::{ChannelOptions, Direction},
};
use serde_json::json;

use crate::in_both_formats;

in_both_formats! {
    // Spec: RSL6
    async fn messages_of_one_format_are_readable_in_both(app) {
        let payloads = [
            Data::from("text ✓"),
            Data::from(""),
            Data::from(b"valid UTF-8".to_vec()),
            Data::from(vec![0, 159, 146, 150]),
            Data::from(json!({"a": [1, null, {"b": "c"}]})),
            Data::from(json!([])),
            Data::None,
        ];
        let publisher = app.rest();
        let name = "any:name/with ünï ✓ #?&%";
        let channel = publisher.channels().get(name);
        let mut serials = Vec::new();
        for data in &payloads {
            let result = channel.publish("event", data.clone()).await.unwrap();
            assert_eq!(result.serials.len(), 1);
            serials.push(result.serials[0].clone().expect("a serial"));
        }
        for reader in [publisher, app.other_format()] {
            let history = reader.channels().get(name).history();
            let page = history.direction(Direction::Forwards).await.unwrap();
            let received: Vec<_> = page.items().iter().map(|m| m.data.clone()).collect();
            assert_eq!(received, payloads);
            let read: Vec<_> = page.items().iter().map(|m| m.serial.clone().unwrap()).collect();
            assert_eq!(read, serials);
            assert!(page.items().iter().all(|message| message.encoding.is_none()));
            assert!(page.is_last());
        }
    }
}

in_both_formats! {
    // Spec: RSL5, RSL5a, RSL5b
    async fn the_service_stores_encrypted_payloads(app) {
        for (key, encoding) in [
            (&[3; 16][..], "json/utf-8/cipher+aes-128-cbc"),
            (&[3; 32], "json/utf-8/cipher+aes-256-cbc"),
        ] {
            let options =
                || ChannelOptions::default().cipher(CipherParams::from_key(key).unwrap());
            let channel = app.rest().channels().get_with(encoding, options());
            channel.publish("event", json!({"a": 1})).await.unwrap();

            let other = app.other_format();
            let plain = other.channels().get(encoding).history().await.unwrap();
            assert_eq!(plain.items()[0].encoding.as_deref(), Some(encoding));
            let channel = other.channels().get_with(encoding, options());
            let page = channel.history().await.unwrap();
            assert_eq!(page.items()[0].data, Data::Json(json!({"a": 1})));
        }
    }
}
