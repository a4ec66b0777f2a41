//! A later process goes on from what was stored, also if that is damaged (RSH3h, RSH8a1).

use super::*;

/// The request that a process goes on with, by the state in which an earlier process ended.
fn repeated(state: ActivationState) -> Option<PushRequest> {
    match state {
        ActivationState::NotActivated
        | ActivationState::WaitingForNewPushDeviceDetails
        | ActivationState::AfterRegistrationSyncFailed => None,
        ActivationState::WaitingForPushDeviceDetails => Some(PushRequest::Details),
        ActivationState::WaitingForDeviceRegistration => Some(PushRequest::Register),
        ActivationState::WaitingForRegistrationSync(_) => Some(PushRequest::Validate),
        ActivationState::WaitingForDeregistration(_) => Some(PushRequest::Deregister),
    }
}

// Spec: RSH3h, RSH8a
#[test]
fn every_stored_state_is_a_starting_state() {
    for state in ALL_STATES {
        let mut activation = left_in(state);
        assert_eq!(activation.state(), state);
        assert_eq!(activation.encode(), stored_in(state));
        // A restored activation makes no request before its first event.
        assert_eq!(outputs(&mut activation), []);
        activation.resume();
        let requests: Vec<_> = outputs(&mut activation)
            .into_iter()
            .map(|output| match output {
                PushOutput::Request(_, request) => request,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(requests, repeated(state).into_iter().collect::<Vec<_>>(), "{state:?}");
        activation.resume();
        assert_eq!(outputs(&mut activation), [], "a request is repeated once");
    }
}

// Spec: RSH3h
#[test]
fn a_change_that_was_not_sent_is_sent_by_the_next_process() {
    let mut activation = left_in(ActivationState::WaitingForNewPushDeviceDetails);
    activation.deactivate(PushCallId(1));
    let (id, _) = request(&mut activation);
    activation.details_changed(address("t1"));
    activation.handle_deregistration(id, Err(error("no")));
    // It is under way when the process ends: the next one sends all details.
    let mut next = restarted(&activation);
    next.activate(PushCallId(2), identity(2));
    let steps = outputs(&mut next);
    assert!(matches!(steps[0], PushOutput::Request(_, PushRequest::Validate)), "{steps:?}");
    assert_eq!(steps[1], PushOutput::Done(PushCallId(2), Ok(())));

    // It waits for another request when the process ends.
    let mut activation = left_in(ActivationState::WaitingForDeregistration(
        BeforeDeregistration::WaitingForNewPushDeviceDetails,
    ));
    activation.details_changed(address("t1"));
    let mut next = restarted(&activation);
    next.deactivate(PushCallId(2));
    let (id, deregister) = request(&mut next);
    assert_eq!(deregister, PushRequest::Deregister);
    next.handle_deregistration(id, Err(error("no")));
    let steps = outputs(&mut next);
    let update = PushRequest::Update { address: true, client_id: false };
    assert!(matches!(steps[1], PushOutput::Request(_, request) if request == update), "{steps:?}");
}

// Spec: RSH8d, RSH8e
#[test]
fn a_client_that_is_identified_in_a_later_process_is_sent_once() {
    for state in ALL_STATES {
        let mut activation = left_in(state);
        activation.identified(Some(&"ada".into()));
        assert_eq!(activation.device().client_id.as_deref(), Some("ada"));
        let requests = outputs(&mut activation).len();
        let expected = match state {
            ActivationState::NotActivated
            | ActivationState::WaitingForPushDeviceDetails
            | ActivationState::WaitingForDeviceRegistration => 0,
            ActivationState::WaitingForNewPushDeviceDetails
            | ActivationState::WaitingForRegistrationSync(_)
            | ActivationState::AfterRegistrationSyncFailed
            | ActivationState::WaitingForDeregistration(_) => 1,
        };
        assert_eq!(requests, expected, "{state:?}");
        if state == ActivationState::WaitingForNewPushDeviceDetails {
            let request = activation.awaited.unwrap();
            activation.handle_sync(request, Ok(None));
            assert_eq!(outputs(&mut activation), [PushOutput::Updated(Ok(()))]);
        }
    }
}

/// The stored JSON of an active device. Tests damage it.
fn active() -> Value {
    serde_json::from_slice(&stored_in(ActivationState::WaitingForNewPushDeviceDetails)).unwrap()
}

fn restore(stored: &Value) -> PushActivation {
    PushActivation::restore(Some(&serde_json::to_vec(stored).unwrap()), profile())
}

// Spec: RSH8a1
#[test]
fn a_device_that_cannot_be_read_is_discarded_with_its_state() {
    let whole = stored_in(ActivationState::WaitingForNewPushDeviceDetails);
    // Cut at every byte.
    for end in 0..whole.len() {
        let cut = PushActivation::restore(Some(&whole[..end]), profile());
        assert_eq!(cut.encode(), fresh().encode(), "cut at {end}");
    }
    let mut long = whole.clone();
    long.resize(MAX_STORED + 1, b' ');
    let garbage: [&[u8]; 5] = [b"garbage", b"[]", b"null", &[0xff; 64], &long];
    for bytes in garbage {
        let activation = PushActivation::restore(Some(bytes), profile());
        assert_eq!(activation.encode(), fresh().encode());
    }
    long.truncate(MAX_STORED);
    let activation = PushActivation::restore(Some(&long), profile());
    assert_eq!(activation.device().id, "device-0");

    let changes: [fn(&mut Value); 7] = [
        |device| drop(device.as_object_mut().unwrap().remove("id")),
        |device| drop(device.as_object_mut().unwrap().remove("deviceSecret")),
        |device| device["id"] = json!(""),
        |device| device["deviceSecret"] = json!(""),
        |device| device["id"] = json!(5),
        |device| device["deviceSecret"] = json!({}),
        |device| *device = json!("device-0"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut stored = active();
        change(&mut stored["device"]);
        let activation = restore(&stored);
        assert_eq!(activation.state(), ActivationState::NotActivated, "{number}");
        assert_eq!(activation.device(), &LocalDevice::new(&profile()), "{number}");
    }
}

// Spec: RSH3a2a
#[test]
fn a_state_that_cannot_be_read_is_discarded_and_the_device_is_validated() {
    let changes: [fn(&mut Value); 6] = [
        |stored| stored["version"] = json!(2),
        |stored| drop(stored.as_object_mut().unwrap().remove("version")),
        |stored| stored["activation"]["state"] = json!("Unheard"),
        |stored| stored["activation"] = json!(7),
        |stored| drop(stored.as_object_mut().unwrap().remove("activation")),
        |stored| stored["activation"]["unsent"] = json!("all"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut stored = active();
        change(&mut stored);
        let mut activation = restore(&stored);
        assert_eq!(activation.state(), ActivationState::NotActivated, "{number}");
        assert_eq!(activation.device().id, "device-0", "{number}");
        activation.activate(PushCallId(1), identity(1));
        assert_eq!(request(&mut activation).1, PushRequest::Validate, "{number}");
    }
}

#[test]
fn a_state_that_its_device_cannot_be_in_is_discarded() {
    for state in ALL_STATES {
        let mut stored: Value = serde_json::from_slice(&stored_in(state)).unwrap();
        stored["device"] = json!({"recipient": address("t0")});
        let activation = restore(&stored);
        assert_eq!(activation.state(), ActivationState::NotActivated, "{state:?}");
        assert_eq!(activation.device().push.recipient, address("t0"));
    }
    let mut stored = active();
    drop(stored["device"].as_object_mut().unwrap().remove("deviceIdentityToken"));
    assert_eq!(restore(&stored).state(), ActivationState::NotActivated);
    let state = ActivationState::WaitingForDeviceRegistration;
    let mut stored: Value = serde_json::from_slice(&stored_in(state)).unwrap();
    drop(stored["device"].as_object_mut().unwrap().remove("recipient"));
    assert_eq!(restore(&stored).state(), ActivationState::NotActivated);
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let mut stored = active();
    stored["later"] = json!([1]);
    stored["device"]["later"] = json!({"a": 1});
    stored["activation"]["later"] = json!(null);
    let activation = restore(&stored);
    assert_eq!(activation.state(), ActivationState::WaitingForNewPushDeviceDetails);
    assert_eq!(activation.device().device_identity_token.as_deref(), Some("identity-0"));
}
