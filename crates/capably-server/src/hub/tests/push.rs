//! Tokens of devices, in virtual time.

use serde_json::{Value, json};

use super::*;
use crate::hub::{
    DeviceProof, PushCaller, PushChange, PushFilter,
    access::{identity::Credentials, token::PresentedToken},
};

impl Bench {
    /// Registers a device and returns its token.
    fn register(&mut self, id: &str) -> String {
        let caller = PushCaller { identity: self.identity(), proof: None };
        let body = json!({
            "id": id, "platform": "ios", "formFactor": "phone", "deviceSecret": "s3cr3t",
            "push": {"recipient": {"transportType": "apns", "deviceToken": "t"}},
        });
        let body = body.as_object().cloned().unwrap();
        let ((_, token), changes) = self.app.register_device(&caller, body, self.now).unwrap();
        self.apply(changes);
        token.details.token.to_string()
    }

    fn apply(&mut self, changes: Vec<PushChange>) {
        changes.into_iter().for_each(|change| self.app.apply_push(change));
    }

    /// The answer to a request for a device with this token.
    fn device(&self, token: &str, id: &str) -> Result<Value, u32> {
        let codes = |error: capably_protocol::ErrorInfo| error.code.0;
        let credentials = Credentials::Token(PresentedToken::parse(token).unwrap());
        let identity = self.app.authenticate(&credentials, None, self.now).map_err(codes)?;
        let alone = PushCaller { identity, proof: None };
        let nobody = Identity {
            capability: Arc::new(capability(json!({"*": ["subscribe"]}))),
            ..self.identity()
        };
        let proof = Some(DeviceProof::Token(PresentedToken::parse(token).unwrap()));
        let beside = PushCaller { identity: nobody, proof };
        let device = self.app.device(&alone, id, self.now).map_err(codes);
        assert_eq!(device.is_ok(), self.app.device(&beside, id, self.now).is_ok());
        device
    }
}

#[test]
fn a_device_token_is_valid_for_a_year_and_while_its_device_exists() {
    let mut bench = Bench::new();
    let token = bench.register("d");
    assert_eq!(bench.device(&token, "d").unwrap()["id"], "d");
    bench.advance(Duration::from_secs(364 * 24 * 3600));
    assert_eq!(bench.device(&token, "d").unwrap()["id"], "d");
    let renewed = bench.register("d");
    bench.advance(Duration::from_secs(24 * 3600));
    assert_eq!(bench.device(&token, "d"), Err(40142));
    assert_eq!(bench.device(&renewed, "d").unwrap()["id"], "d");

    let admin = PushCaller { identity: bench.identity(), proof: None };
    let filter = PushFilter { device_id: Some("d".into()), ..PushFilter::default() };
    let ((), changes) = bench.app.remove_devices(&admin, &filter, bench.now).unwrap();
    bench.apply(changes);
    assert_eq!(bench.device(&renewed, "d"), Err(40160));
    // A new device with the same id does not accept the token of the old one.
    let other = bench.register("d");
    assert_eq!(bench.device(&renewed, "d"), Err(40160));
    assert_eq!(bench.device(&other, "d").unwrap()["id"], "d");
}

#[test]
fn debug_output_hides_the_secret_of_a_device() {
    let mut bench = Bench::new();
    bench.register("d");
    let text = format!("{:?}", bench.app);
    assert!(text.contains("deviceToken"), "the device is there");
    assert!(!text.contains("s3cr3t"), "{text}");
}
