//! Every state with every event (RSH3).

use super::*;

/// The transition that the specification (RSH3) demands for an event in a state.
#[derive(Debug, PartialEq)]
enum Expected {
    /// There is no transition: the event waits (RSH4).
    Waits,
    /// This state, with these outputs.
    Enters(ActivationState, Vec<Step>),
}

/// An output without its ids.
#[derive(Debug, PartialEq)]
enum Step {
    Request(PushRequest),
    Abandon,
    /// The call of the event, or an earlier one, ends well or with this code.
    Done(u64, Option<u32>),
    Updated(Option<u32>),
}

/// The call of an event, and calls of `activate` and `deactivate` that were made in the state before.
const OWN: u64 = 9;
const ACTIVATING: u64 = 1;
const DEACTIVATING: u64 = 2;

fn events() -> [(&'static str, Event); 10] {
    [
        ("CalledActivate", Event::CalledActivate(PushCallId(OWN), identity(9))),
        ("CalledDeactivate", Event::CalledDeactivate(PushCallId(OWN))),
        ("GotPushDeviceDetails", Event::GotPushDeviceDetails),
        ("GettingPushDeviceDetailsFailed", Event::GettingPushDeviceDetailsFailed(error("no"))),
        ("GotDeviceRegistration", Event::GotDeviceRegistration(registration("t", None))),
        ("GettingDeviceRegistrationFailed", Event::GettingDeviceRegistrationFailed(error("no"))),
        ("RegistrationSynced", Event::RegistrationSynced(None)),
        ("SyncRegistrationFailed", Event::SyncRegistrationFailed(error("no"))),
        ("Deregistered", Event::Deregistered),
        ("DeregistrationFailed", Event::DeregistrationFailed(error("no"))),
    ]
}

/// The table of the specification, read from its text and not from the code.
fn expected(state: ActivationState, event: &str) -> Expected {
    use ActivationState::*;
    use BeforeDeregistration as Before;
    use Expected::{Enters, Waits};
    use Step::{Abandon, Done, Request, Updated};
    let ended = |code| Done(ACTIVATING, code);
    match (state, event) {
        // RSH3a2b, RSH3a2c, RSH3a2e, RSH3b3: the device has an address.
        (NotActivated, "CalledActivate") => {
            Enters(WaitingForDeviceRegistration, vec![Request(PushRequest::Register)])
        }
        // RSH3a1d
        (NotActivated, "CalledDeactivate") => Enters(NotActivated, vec![Done(OWN, None)]),
        // RSH3a3a
        (NotActivated, "GotPushDeviceDetails") => Enters(NotActivated, vec![]),

        // RSH3b1a
        (WaitingForPushDeviceDetails, "CalledActivate") => {
            Enters(WaitingForPushDeviceDetails, vec![])
        }
        // RSH3b2
        (WaitingForPushDeviceDetails, "CalledDeactivate") => {
            Enters(NotActivated, vec![Abandon, ended(Some(40000)), Done(OWN, None)])
        }
        // RSH3b3b, RSH3b3d
        (WaitingForPushDeviceDetails, "GotPushDeviceDetails") => {
            Enters(WaitingForDeviceRegistration, vec![Abandon, Request(PushRequest::Register)])
        }
        // RSH3b4
        (WaitingForPushDeviceDetails, "GettingPushDeviceDetailsFailed") => {
            Enters(NotActivated, vec![Abandon, ended(Some(50000))])
        }

        // RSH3c1a
        (WaitingForDeviceRegistration, "CalledActivate") => {
            Enters(WaitingForDeviceRegistration, vec![])
        }
        // RSH3c2
        (WaitingForDeviceRegistration, "GotDeviceRegistration") => {
            Enters(WaitingForNewPushDeviceDetails, vec![ended(None)])
        }
        // RSH3c3
        (WaitingForDeviceRegistration, "GettingDeviceRegistrationFailed") => {
            Enters(NotActivated, vec![Abandon, ended(Some(50000))])
        }

        // RSH3d1
        (WaitingForNewPushDeviceDetails, "CalledActivate") => {
            Enters(WaitingForNewPushDeviceDetails, vec![Done(OWN, None)])
        }
        // RSH3d2
        (WaitingForNewPushDeviceDetails, "CalledDeactivate") => Enters(
            WaitingForDeregistration(Before::WaitingForNewPushDeviceDetails),
            vec![Request(PushRequest::Deregister)],
        ),
        // RSH3d3
        (WaitingForNewPushDeviceDetails, "GotPushDeviceDetails") => Enters(
            WaitingForRegistrationSync(SyncCause::Change),
            vec![Request(PushRequest::Update { address: true, client_id: false })],
        ),

        // RSH3e1
        (WaitingForRegistrationSync(SyncCause::Change), "CalledActivate") => {
            Enters(WaitingForRegistrationSync(SyncCause::Change), vec![Done(OWN, None)])
        }
        // RSH3e2b, RSH3e2a
        (WaitingForRegistrationSync(SyncCause::Activate), "RegistrationSynced") => {
            Enters(WaitingForNewPushDeviceDetails, vec![ended(None)])
        }
        // RSH3e2c
        (WaitingForRegistrationSync(SyncCause::Change), "RegistrationSynced") => {
            Enters(WaitingForNewPushDeviceDetails, vec![Updated(None)])
        }
        // RSH3e3c, RSH3e3b
        (WaitingForRegistrationSync(SyncCause::Activate), "SyncRegistrationFailed") => {
            Enters(AfterRegistrationSyncFailed, vec![ended(Some(50000))])
        }
        // RSH3e3d
        (WaitingForRegistrationSync(SyncCause::Change), "SyncRegistrationFailed") => {
            Enters(AfterRegistrationSyncFailed, vec![Updated(Some(50000))])
        }

        // RSH3f1a
        (AfterRegistrationSyncFailed, "CalledActivate") => Enters(
            WaitingForRegistrationSync(SyncCause::Activate),
            vec![Request(PushRequest::Validate)],
        ),
        (AfterRegistrationSyncFailed, "GotPushDeviceDetails") => Enters(
            WaitingForRegistrationSync(SyncCause::Change),
            vec![Request(PushRequest::Validate)],
        ),
        // RSH3f2a
        (AfterRegistrationSyncFailed, "CalledDeactivate") => Enters(
            WaitingForDeregistration(Before::AfterRegistrationSyncFailed),
            vec![Request(PushRequest::Deregister)],
        ),

        // RSH3g1a
        (WaitingForDeregistration(before), "CalledDeactivate") => {
            Enters(WaitingForDeregistration(before), vec![])
        }
        // RSH3g2
        (WaitingForDeregistration(_), "Deregistered") => {
            Enters(NotActivated, vec![Done(DEACTIVATING, None)])
        }
        // RSH3g3
        (WaitingForDeregistration(before), "DeregistrationFailed") => {
            Enters(before.into(), vec![Done(DEACTIVATING, Some(50000))])
        }
        _ => Waits,
    }
}

/// An activation that waits in this state with the calls that led there.
fn in_state(state: ActivationState) -> PushActivation {
    let mut activation = left_in(state);
    match state {
        ActivationState::WaitingForPushDeviceDetails
        | ActivationState::WaitingForDeviceRegistration => {
            activation.activate(PushCallId(ACTIVATING), identity(1));
        }
        ActivationState::WaitingForRegistrationSync(SyncCause::Activate) => {
            activation = left_in(ActivationState::AfterRegistrationSyncFailed);
            activation.activate(PushCallId(ACTIVATING), identity(1));
        }
        ActivationState::WaitingForDeregistration(_) => {
            activation.deactivate(PushCallId(DEACTIVATING));
        }
        ActivationState::NotActivated
        | ActivationState::WaitingForNewPushDeviceDetails
        | ActivationState::WaitingForRegistrationSync(SyncCause::Change)
        | ActivationState::AfterRegistrationSyncFailed => activation.resume(),
    }
    assert_eq!(activation.state(), state);
    outputs(&mut activation);
    activation
}

fn steps(outputs: Vec<PushOutput>) -> Vec<Step> {
    let code = |result: Result<(), ErrorInfo>| result.err().map(|error| error.code.0);
    let steps = outputs.into_iter().map(|output| match output {
        PushOutput::Request(_, request) => Step::Request(request),
        PushOutput::Abandon(_) => Step::Abandon,
        PushOutput::Done(call, result) => Step::Done(call.0, code(result)),
        PushOutput::Updated(result) => Step::Updated(code(result)),
    });
    steps.collect()
}

// Spec: RSH3, RSH3a, RSH3a1, RSH3a1d, RSH3a2, RSH3a2c, RSH3a2e, RSH3a3, RSH3a3a, RSH3b, RSH3b1, RSH3b1a, RSH3b2
// Spec: RSH3b2a, RSH3b2b, RSH3b3, RSH3b3c, RSH3b3d, RSH3b4, RSH3b4a, RSH3b4b, RSH3c, RSH3c1, RSH3c1a, RSH3c2
// Spec: RSH3c2b, RSH3c2c, RSH3c3, RSH3c3a, RSH3c3b, RSH3d, RSH3d1, RSH3d1a, RSH3d1b, RSH3d2, RSH3d2c, RSH3d2d
// Spec: RSH3d3, RSH3d3c, RSH3d3d, RSH3e, RSH3e1, RSH3e1a, RSH3e1b, RSH3e2, RSH3e2a, RSH3e2b, RSH3e2c, RSH3e3
// Spec: RSH3e3b, RSH3e3c, RSH3e3d, RSH3f, RSH3f1, RSH3f1a, RSH3f2, RSH3f2a, RSH3g, RSH3g1, RSH3g1a, RSH3g2
// Spec: RSH3g2b, RSH3g2c, RSH3g3, RSH3g3a, RSH3g3b, RSH4, RSH5
#[test]
fn every_state_handles_every_event_as_specified() {
    for state in ALL_STATES {
        for (name, event) in events() {
            let mut activation = in_state(state);
            let is_handled = activation.handles(&event);
            activation.fire(event);
            let steps = steps(outputs(&mut activation));
            let found = if is_handled {
                Expected::Enters(activation.state(), steps)
            } else {
                assert_eq!((activation.state(), steps), (state, vec![]), "{state:?}, {name}");
                assert_eq!(activation.queue.len(), 1, "{state:?}, {name}");
                Expected::Waits
            };
            assert_eq!(found, expected(state, name), "{state:?}, {name}");
        }
    }
}
