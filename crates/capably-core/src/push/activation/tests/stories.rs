//! Activations as a program sees them.

use super::*;

/// An activated device, with the address `t0`.
fn active(client_id: Option<&str>) -> PushActivation {
    let mut activation = fresh();
    activation.identified(client_id.map(Str::from).as_ref());
    activation.activate(PushCallId(0), identity(0));
    let (id, _) = request(&mut activation);
    activation.handle_details(id, Ok(address("t0")));
    let (id, _) = request(&mut activation);
    activation.handle_registration(id, Ok(registration("identity-0", None)));
    assert_eq!(outputs(&mut activation), [PushOutput::Done(PushCallId(0), Ok(()))]);
    activation
}

fn done(call: u64) -> PushOutput {
    PushOutput::Done(PushCallId(call), Ok(()))
}

// Spec: RSH2, RSH2a, RSH3a2b, RSH3a2d, RSH3b3b, RSH3c2a, RSH3h, RSH8a, RSH8b, RSH8c
#[test]
fn a_device_gets_an_identity_an_address_and_a_registration() {
    let mut activation = fresh();
    assert_eq!(activation.state(), ActivationState::NotActivated);
    assert_eq!(activation.device(), &LocalDevice::new(&profile()));
    activation.identified(Some(&"ada".into()));
    activation.activate(PushCallId(0), identity(0));
    assert_eq!(activation.state(), ActivationState::WaitingForPushDeviceDetails);
    let device = activation.device();
    assert_eq!((&*device.id, device.device_secret.as_deref()), ("device-0", Some("secret-0")));
    assert_eq!(device.client_id.as_deref(), Some("ada"));
    let (id, first) = request(&mut activation);
    assert_eq!(first, PushRequest::Details);
    activation.handle_details(id, Ok(address("t0")));
    let (id, second) = request(&mut activation);
    assert_eq!(second, PushRequest::Register);
    assert_eq!(activation.device().push.recipient, address("t0"));
    activation.handle_registration(id, Ok(registration("identity-0", Some("ada"))));
    assert_eq!(outputs(&mut activation), [done(0)]);
    assert_eq!(activation.state(), ActivationState::WaitingForNewPushDeviceDetails);
    let device = activation.device();
    assert_eq!(device.device_identity_token.as_deref(), Some("identity-0"));
    assert_eq!(device.metadata, profile().metadata);
    assert_eq!(device.details().id, "device-0");
}

// Spec: RSH8b
#[test]
fn a_client_that_may_be_anyone_gives_the_device_no_client_id() {
    for anyone in ["*", ""] {
        let activation = active(Some(anyone));
        assert_eq!(activation.device().client_id, None);
    }
}

// Spec: RSH3c2a, RSH8f
#[test]
fn a_device_of_an_unidentified_client_takes_the_client_id_of_its_registration() {
    for (own, registered, expected) in [
        (None, Some("ada"), Some("ada")),
        (Some("bob"), Some("ada"), Some("bob")),
        (None, Some(""), None),
        (None, None, None),
    ] {
        let mut activation = left_in(ActivationState::NotActivated);
        activation.identified(own.map(Str::from).as_ref());
        activation.activate(PushCallId(0), identity(1));
        let (id, _) = request(&mut activation);
        activation.handle_registration(id, Ok(registration("t", registered)));
        assert_eq!(activation.device().client_id.as_deref(), expected);
        assert_eq!(activation.device().id, "device-0", "an identity is kept");
    }
}

// Spec: RSH3e3c, RSH3a2a, RSH3a2a1, RSH3a2a3, RSH3a2a4
#[test]
fn the_registration_of_another_client_is_refused_and_can_be_removed() {
    let mut ada = active(Some("ada"));
    // A registered device whose state was lost, as after a downgrade.
    ada.remembered.state = ActivationState::NotActivated;
    let stored = ada.encode();
    let restore = || PushActivation::restore(Some(&stored), profile());

    for same in [Some("ada"), None, Some("*")] {
        let mut activation = restore();
        activation.identified(same.map(Str::from).as_ref());
        activation.activate(PushCallId(1), identity(1));
        let (id, validate) = request(&mut activation);
        assert_eq!(validate, PushRequest::Validate);
        let state = ActivationState::WaitingForRegistrationSync(SyncCause::Activate);
        assert_eq!(activation.state(), state);
        activation.handle_sync(id, Ok(None));
        assert_eq!(outputs(&mut activation), [done(1)]);
    }

    let mut bob = restore();
    bob.identified(Some(&"bob".into()));
    bob.activate(PushCallId(1), identity(1));
    let ended = outputs(&mut bob);
    let [PushOutput::Done(PushCallId(1), Err(refusal))] = &ended[..] else {
        panic!("the call fails: {ended:?}")
    };
    assert_eq!((refusal.code.0, refusal.status_code), (61002, 400));
    assert_eq!(bob.state(), ActivationState::AfterRegistrationSyncFailed);
    assert_eq!(bob.device().client_id.as_deref(), Some("ada"));
    // The way out: the device is removed, and becomes another one.
    bob.deactivate(PushCallId(2));
    let (id, deregister) = request(&mut bob);
    assert_eq!(deregister, PushRequest::Deregister);
    bob.handle_deregistration(id, Ok(()));
    assert_eq!(outputs(&mut bob), [done(2)]);
    bob.activate(PushCallId(3), identity(3));
    assert_eq!(bob.device().id, "device-3");
    assert_eq!(bob.device().client_id.as_deref(), Some("bob"));
}

// Spec: RSH3a1c, RSH3g2a
#[test]
fn a_registered_device_is_deregistered_in_any_state_and_nothing_of_it_stays() {
    let mut activation = active(Some("ada"));
    activation.remembered.state = ActivationState::NotActivated;
    activation.deactivate(PushCallId(1));
    let (id, deregister) = request(&mut activation);
    assert_eq!(deregister, PushRequest::Deregister);
    activation.handle_deregistration(id, Err(error("no")));
    assert_eq!(activation.state(), ActivationState::NotActivated);
    assert!(activation.device().is_registered());
    outputs(&mut activation);
    activation.deactivate(PushCallId(2));
    let (id, _) = request(&mut activation);
    activation.handle_deregistration(id, Ok(()));
    assert_eq!(activation.device(), &LocalDevice::new(&profile()));
    assert_eq!(activation.encode(), fresh().encode());
}

// Spec: RSH3d2c1
#[test]
fn a_refused_identity_counts_as_deregistered() {
    let refused = |code, status| {
        PushActivation::is_deregistered(&ErrorInfo::new(ErrorCode(code), status, "refused"))
    };
    assert!(refused(40005, 400) && refused(40160, 401) && refused(0, 401));
    assert!(!refused(40000, 400) && !refused(50000, 500) && !refused(40300, 403));
    assert!(!refused(40004, 0) && !refused(80000, 0));
}

// Spec: RSH4
#[test]
fn an_activation_waits_for_the_end_of_a_deactivation() {
    let mut activation = active(None);
    activation.deactivate(PushCallId(1));
    let (id, _) = request(&mut activation);
    activation.activate(PushCallId(2), identity(2));
    activation.details_failed(error("stale"));
    assert_eq!(outputs(&mut activation), []);
    activation.handle_deregistration(id, Ok(()));
    let steps = outputs(&mut activation);
    let [first, PushOutput::Request(id, PushRequest::Details)] = &steps[..] else {
        panic!("the new activation begins: {steps:?}")
    };
    assert_eq!(*first, done(1));
    assert_eq!(activation.device().id, "device-2");
    activation.handle_details(*id, Ok(address("t2")));
    let (id, _) = request(&mut activation);
    activation.handle_registration(id, Ok(registration("identity-2", None)));
    assert_eq!(outputs(&mut activation), [done(2)]);
}

// Spec: RSH4
#[test]
fn an_event_that_waits_does_not_hold_up_those_behind_it() {
    let mut activation = active(None);
    activation.deactivate(PushCallId(1));
    let (id, _) = request(&mut activation);
    // Nothing after the deregistration handles this one.
    activation.details_failed(error("stale"));
    activation.activate(PushCallId(2), identity(2));
    activation.handle_deregistration(id, Err(error("no")));
    let steps = outputs(&mut activation);
    assert_eq!(steps, [PushOutput::Done(PushCallId(1), Err(error("no"))), done(2)]);
}

// Spec: RSH3b4, RSH8h
#[test]
fn a_failure_from_before_an_activation_does_not_end_it() {
    let mut activation = fresh();
    activation.details_failed(error("stale"));
    activation.activate(PushCallId(1), identity(1));
    let (id, _) = request(&mut activation);
    assert_eq!(activation.state(), ActivationState::WaitingForPushDeviceDetails);
    activation.handle_details(id, Err(error("no")));
    assert_eq!(outputs(&mut activation), [PushOutput::Done(PushCallId(1), Err(error("no")))]);
    assert_eq!(activation.state(), ActivationState::NotActivated);
    assert_eq!(activation.device().id, "device-1", "the identity stays");
}

// Spec: RSH3b1, RSH3c1
#[test]
fn calls_at_once_share_one_activation() {
    let mut activation = fresh();
    activation.activate(PushCallId(1), identity(1));
    let (id, _) = request(&mut activation);
    activation.activate(PushCallId(2), identity(2));
    assert_eq!(outputs(&mut activation), []);
    activation.handle_details(id, Ok(address("t")));
    let (id, _) = request(&mut activation);
    activation.activate(PushCallId(3), identity(3));
    activation.handle_registration(id, Ok(registration("t", None)));
    assert_eq!(outputs(&mut activation), [done(1), done(2), done(3)]);
    assert_eq!(activation.device().id, "device-1");
}

// Spec: RSH3e1
#[test]
fn an_activation_during_a_validation_waits_for_it() {
    let mut activation = left_in(ActivationState::AfterRegistrationSyncFailed);
    activation.activate(PushCallId(1), identity(1));
    let (id, _) = request(&mut activation);
    activation.activate(PushCallId(2), identity(2));
    assert_eq!(outputs(&mut activation), []);
    activation.handle_sync(id, Err(error("no")));
    let steps = outputs(&mut activation);
    let [PushOutput::Done(PushCallId(1), Err(_)), PushOutput::Request(id, PushRequest::Validate)] =
        &steps[..]
    else {
        panic!("the second call validates again: {steps:?}")
    };
    activation.handle_sync(*id, Ok(Some("identity-1".into())));
    assert_eq!(outputs(&mut activation), [done(2)]);
    assert_eq!(activation.device().device_identity_token.as_deref(), Some("identity-1"));
}

// Spec: RSH3d3b, RSH8g
#[test]
fn a_new_address_is_sent_and_the_same_address_is_not() {
    let mut activation = active(None);
    activation.details_changed(address("t0"));
    assert_eq!(outputs(&mut activation), []);
    activation.details_changed(address("t1"));
    let (id, update) = request(&mut activation);
    assert_eq!(update, PushRequest::Update { address: true, client_id: false });
    // Another address while this one is sent.
    activation.details_changed(address("t2"));
    activation.details_changed(address("t3"));
    assert_eq!(outputs(&mut activation), []);
    activation.handle_sync(id, Ok(None));
    let steps = outputs(&mut activation);
    let [PushOutput::Updated(Ok(())), PushOutput::Request(id, PushRequest::Update { .. })] =
        &steps[..]
    else {
        panic!("the newest address is sent once: {steps:?}")
    };
    assert_eq!(activation.device().push.recipient, address("t3"));
    activation.handle_sync(*id, Err(error("no")));
    assert_eq!(outputs(&mut activation), [PushOutput::Updated(Err(error("no")))]);
    // After a failure even the same address is a reason to send it (RSH3f1).
    activation.details_changed(address("t3"));
    assert_eq!(request(&mut activation).1, PushRequest::Validate);
}

// Spec: RSH3a3a
#[test]
fn an_address_from_before_the_activation_is_used_by_it() {
    let mut activation = fresh();
    activation.details_changed(address("t0"));
    assert_eq!(activation.state(), ActivationState::NotActivated);
    let mut activation = restarted(&activation);
    activation.activate(PushCallId(1), identity(1));
    assert_eq!(request(&mut activation).1, PushRequest::Register);
    assert_eq!(activation.device().push.recipient, address("t0"));
}

// Spec: RSH8d, RSH8e
#[test]
fn a_client_that_becomes_identified_gives_the_device_its_client_id() {
    let mut activation = active(None);
    activation.identified(Some(&"*".into()));
    assert_eq!(outputs(&mut activation), []);
    activation.identified(Some(&"ada".into()));
    let (id, update) = request(&mut activation);
    assert_eq!(update, PushRequest::Update { address: false, client_id: true });
    assert_eq!(activation.device().client_id.as_deref(), Some("ada"));
    activation.handle_sync(id, Ok(None));
    assert_eq!(outputs(&mut activation), [PushOutput::Updated(Ok(()))]);
    // A device that has a client id keeps it.
    activation.identified(Some(&"bob".into()));
    assert_eq!(outputs(&mut activation), []);
    assert_eq!(activation.device().client_id.as_deref(), Some("ada"));

    // A device that is not active sends nothing, and a device that never was has no client id.
    let mut activation = left_in(ActivationState::NotActivated);
    activation.identified(Some(&"ada".into()));
    assert_eq!(outputs(&mut activation), []);
    assert_eq!(activation.device().client_id.as_deref(), Some("ada"));
    let mut activation = fresh();
    activation.identified(Some(&"ada".into()));
    assert_eq!(activation.device().client_id, None);
}

// Spec: RSH8d, RSH8e
#[test]
fn a_client_that_becomes_identified_during_the_registration_tells_the_service_after_it() {
    for (registered, expected) in [(None, true), (Some("ada"), false)] {
        let mut activation = left_in(ActivationState::NotActivated);
        activation.activate(PushCallId(1), identity(1));
        let (id, _) = request(&mut activation);
        activation.identified(Some(&"ada".into()));
        assert_eq!(outputs(&mut activation), []);
        activation.handle_registration(id, Ok(registration("t", registered)));
        let steps = outputs(&mut activation);
        assert_eq!(steps[0], done(1));
        let update = PushRequest::Update { address: false, client_id: true };
        let is_sent = matches!(steps[1..], [PushOutput::Request(_, sent)] if sent == update);
        assert_eq!(is_sent, expected, "{steps:?}");
    }
}

#[test]
fn a_late_result_of_an_abandoned_request_changes_nothing() {
    let mut activation = fresh();
    activation.activate(PushCallId(1), identity(1));
    let (old, _) = request(&mut activation);
    activation.deactivate(PushCallId(2));
    let steps = outputs(&mut activation);
    assert_eq!(steps[0], PushOutput::Abandon(old));
    let PushOutput::Done(PushCallId(1), Err(ended)) = &steps[1] else { panic!("{steps:?}") };
    assert_eq!(ended.code.0, 40000);
    assert_eq!(steps[2], done(2));
    activation.activate(PushCallId(3), identity(3));
    outputs(&mut activation);
    activation.handle_details(old, Err(error("late")));
    activation.handle_details(old, Ok(address("late")));
    assert_eq!(outputs(&mut activation), []);
    assert_eq!(activation.state(), ActivationState::WaitingForPushDeviceDetails);
}

#[test]
fn debug_shows_no_secret() {
    let mut activation = active(None);
    activation.details_changed(address("t0ken"));
    let registration = registration("t0ken", Some("ada"));
    let device = activation.device();
    let text = format!("{activation:?} {device:?} {:?} {registration:?}", identity(0));
    assert_eq!(text.matches("device-0").count(), 3, "{text}");
    assert!(text.contains("ada"), "{text}");
    for secret in ["secret-0", "identity-0", "t0ken"] {
        assert!(!text.contains(secret), "{text}");
    }
}
