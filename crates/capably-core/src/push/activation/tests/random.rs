//! Random calls, results, addresses and crashes: every call ends, and the service and the device agree at the end.

use std::collections::BTreeSet;

use super::*;

/// A service with one device at most for each id, and a driver with one request under way.
struct World {
    rng: fastrand::Rng,
    activation: PushActivation,
    stored: Vec<u8>,
    /// The registered devices: id, and secret and address.
    registered: BTreeMap<Str, (Str, JsonObject)>,
    /// Devices whose registration was answered to a process that had ended. If it fails when it is repeated, and the
    /// program then deactivates, nobody knows the device any more (RSH3a1d).
    unknown: BTreeSet<Str>,
    under_way: Option<(PushRequestId, PushRequest, LocalDevice)>,
    open: BTreeSet<u64>,
    calls: u64,
    addresses: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            activation: fresh(),
            stored: fresh().encode(),
            registered: BTreeMap::new(),
            unknown: BTreeSet::new(),
            under_way: None,
            open: BTreeSet::new(),
            calls: 0,
            addresses: 0,
        }
    }

    fn step(&mut self) {
        match self.rng.u32(..12) {
            0..=1 => self.activate(),
            2 => self.deactivate(),
            3 => {
                self.addresses += 1;
                let address = address(&format!("t{}", self.addresses));
                self.activation.details_changed(address);
            }
            4 => self.activation.details_failed(error("stale")),
            5 => self.activation.identified(Some(&"ada".into())),
            6 => return self.crash(),
            _ => return self.answer(),
        }
        self.drain();
    }

    fn activate(&mut self) {
        self.calls += 1;
        self.open.insert(self.calls);
        self.activation.activate(PushCallId(self.calls), identity(self.calls));
        self.drain();
    }

    fn deactivate(&mut self) {
        self.calls += 1;
        self.open.insert(self.calls);
        self.activation.deactivate(PushCallId(self.calls));
        self.drain();
    }

    /// Stores, and then carries out the outputs; a crash may come in between.
    fn drain(&mut self) {
        self.stored = self.activation.encode();
        if self.rng.u32(..20) == 0 {
            return self.crash();
        }
        while let Some(output) = self.activation.poll_output() {
            match output {
                PushOutput::Request(id, request) => {
                    assert!(self.under_way.is_none(), "two requests at once");
                    self.under_way = Some((id, request, self.activation.device().clone()));
                }
                PushOutput::Abandon(id) => {
                    let abandoned = self.under_way.take().map(|(id, ..)| id);
                    assert_eq!(abandoned, Some(id));
                }
                PushOutput::Done(call, _) => {
                    assert!(self.open.remove(&call.0), "{call:?} ends twice");
                }
                PushOutput::Updated(_) => {}
            }
        }
    }

    fn crash(&mut self) {
        // Some requests have reached the service.
        if self.rng.bool() {
            if let Some((_, PushRequest::Register, device)) = &self.under_way {
                self.unknown.insert(device.id.clone());
            }
            self.perform();
        }
        self.under_way = None;
        self.open.clear();
        self.activation = PushActivation::restore(Some(&self.stored), profile());
    }

    /// Carries out the request under way at the model of the service.
    fn perform(&mut self) -> Option<PushRequestId> {
        let (id, request, device) = self.under_way.take()?;
        match request {
            PushRequest::Details => {}
            PushRequest::Register => {
                let secret = device.device_secret.clone().unwrap();
                let known =
                    self.registered.insert(device.id, (secret.clone(), device.push.recipient));
                assert!(known.is_none_or(|(known, _)| known == secret), "the secret has changed");
            }
            PushRequest::Validate | PushRequest::Update { .. } => {
                if let Some((_, address)) = self.registered.get_mut(&device.id) {
                    *address = device.push.recipient;
                }
            }
            PushRequest::Deregister => drop(self.registered.remove(&device.id)),
        }
        Some(id)
    }

    fn answer(&mut self) {
        let Some((_, request, device)) = &self.under_way else { return };
        let request = *request;
        // The service refuses a device that it does not know, which counts as deregistered (RSH3d2c1).
        let is_gone =
            request == PushRequest::Deregister && !self.registered.contains_key(&device.id);
        if !is_gone && self.rng.u32(..4) == 0 {
            let (id, ..) = self.under_way.take().unwrap();
            let failed = || error("no");
            match request {
                PushRequest::Details => self.activation.handle_details(id, Err(failed())),
                PushRequest::Register => self.activation.handle_registration(id, Err(failed())),
                PushRequest::Validate | PushRequest::Update { .. } => {
                    self.activation.handle_sync(id, Err(failed()));
                }
                PushRequest::Deregister => {
                    self.activation.handle_deregistration(id, Err(failed()));
                }
            }
        } else {
            self.succeed();
        }
        self.drain();
    }

    fn succeed(&mut self) {
        let Some((_, request, _)) = self.under_way else { return };
        let id = self.perform().unwrap();
        match request {
            PushRequest::Details => {
                let address = address(&format!("t{}", self.addresses));
                self.activation.handle_details(id, Ok(address));
            }
            PushRequest::Register => {
                self.activation.handle_registration(id, Ok(registration("identity", None)));
            }
            PushRequest::Validate | PushRequest::Update { .. } => {
                self.activation.handle_sync(id, Ok(None));
            }
            PushRequest::Deregister => self.activation.handle_deregistration(id, Ok(())),
        }
    }

    /// Every request succeeds until nothing is under way.
    fn settle(&mut self) {
        for _ in 0..100 {
            if self.under_way.is_none() {
                return;
            }
            self.succeed();
            self.drain();
        }
        panic!("the activation does not come to rest: {:?}", self.activation);
    }
}

#[test]
fn random_events_lose_no_call_and_no_device() {
    for seed in 0..500 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            world.step();
        }
        world.settle();
        assert!(world.open.is_empty(), "seed {seed}: {:?} never end", world.open);

        // Whatever has happened, an activation leads to one device that both sides know.
        world.rng = fastrand::Rng::with_seed(0);
        loop {
            world.activate();
            world.settle();
            if world.activation.state() == ActivationState::WaitingForNewPushDeviceDetails {
                break;
            }
        }
        let device = world.activation.device();
        let others = world.registered.keys().filter(|id| **id != device.id);
        assert!({ others }.all(|id| world.unknown.contains(id)), "seed {seed}");
        let (secret, address) = &world.registered[&device.id];
        assert_eq!(Some(secret), device.device_secret.as_ref(), "seed {seed}");
        assert_eq!(*address, device.push.recipient, "seed {seed}");
        // And a deactivation to none.
        loop {
            world.deactivate();
            world.settle();
            if world.activation.state() == ActivationState::NotActivated {
                break;
            }
        }
        assert!(world.registered.keys().all(|id| world.unknown.contains(id)), "seed {seed}");
        assert_eq!(world.activation.device(), &LocalDevice::new(&profile()), "seed {seed}");
    }
}
