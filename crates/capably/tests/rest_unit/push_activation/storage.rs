//! Storages that are damaged, and storages that fail.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

// Spec: RSH8a1
#[tokio::test]
async fn a_storage_that_cannot_be_understood_is_begun_anew() {
    let storage = MemoryPushStorage::new();
    service().rest_with(options(&storage)).push().activate().await.unwrap();
    let whole = storage.load().unwrap().unwrap();
    let id = stored(&storage)["device"]["id"].clone();
    let contents: [&[u8]; 6] =
        [b"", b"garbage", &[0xff, 0, 1], &whole[..whole.len() / 2], b"{\"version\": 9}", b"[[[[[["];
    for content in contents {
        storage.store(content).unwrap();
        let http = service();
        let rest = http.rest_with(options(&storage));
        assert_eq!(rest.push().device().await.unwrap().id, "");
        rest.push().activate().await.unwrap();
        assert_eq!(methods(&http), ["POST"]);
        assert_ne!(stored(&storage)["device"]["id"], id);
    }
}

// Spec: RSH3a2a
#[tokio::test]
async fn a_device_of_a_later_version_is_kept_and_validated() {
    let storage = MemoryPushStorage::new();
    service().rest_with(options(&storage)).push().activate().await.unwrap();
    let mut content = stored(&storage);
    content["version"] = json!(2);
    content["activation"] = json!({"phase": [1, 2]});
    storage.store(content.to_string().as_bytes()).unwrap();
    let http = service();
    let rest = http.rest_with(options(&storage));
    rest.push().activate().await.unwrap();
    assert_eq!(methods(&http), ["PUT"]);
    assert_eq!(rest.device().unwrap().id, content["device"]["id"].as_str().unwrap());
}

/// A storage whose steps fail from one on, until it is healed.
#[derive(Clone, Debug, Default)]
struct Failing {
    content: MemoryPushStorage,
    steps: Arc<AtomicUsize>,
    /// The first step that fails.
    from: Arc<AtomicUsize>,
    panics: bool,
}

impl Failing {
    fn new(from: usize, panics: bool) -> Self {
        Self { from: Arc::new(AtomicUsize::new(from)), panics, ..Self::default() }
    }

    fn heal(&self) {
        self.from.store(usize::MAX, Ordering::Relaxed);
    }

    fn step(&self) -> Result<()> {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        if step < self.from.load(Ordering::Relaxed) {
            return Ok(());
        }
        assert!(!self.panics, "a storage that panics");
        Err(Error::new(ErrorCode(50000), 0, "the disk is full"))
    }
}

impl PushStorage for Failing {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        self.step()?;
        self.content.load()
    }

    fn store(&self, content: &[u8]) -> Result<()> {
        self.step()?;
        self.content.store(content)
    }
}

#[tokio::test]
async fn a_storage_that_fails_at_any_step_ends_the_calls_and_loses_no_device() {
    for panics in [false, true] {
        // A load, and a store for the identity, for the registration under way and for its result. Then a load, and a
        // store for the deregistration under way and for its result.
        for from in 0..7 {
            let storage = Failing::new(from, panics);
            let push =
                PushOptions::new(DevicePlatform::Ios, storage.clone(), PushRecipient::apns("t"));
            let http = service();
            let rest = http.rest_with(ClientOptions::new(KEY).push(push));
            let mut outcome = rest.push().activate().await;
            if outcome.is_ok() {
                outcome = rest.push().deactivate().await;
            }
            let error = outcome.unwrap_err();
            assert_eq!(error.code().0, 50000, "{from}: {error}");
            // No step goes on in the background.
            assert_eq!(rest.push().device().await.unwrap_err().code().0, 50000, "{from}");

            storage.heal();
            rest.push().activate().await.unwrap();
            let device = rest.device().unwrap();
            assert!(device.is_registered(), "{from}");
            // Every device that the service has registered is known, or was deregistered.
            let requests = http.requests();
            let of = |method: &str| -> Vec<_> {
                requests.iter().filter(|it| it.method() == method).collect()
            };
            let gone: Vec<_> =
                of("DELETE").iter().map(|it| it.param("deviceId").unwrap()).collect();
            for registered in of("POST") {
                let id = registered.body()["id"].as_str().unwrap().to_owned();
                assert!(id == *device.id || gone.contains(&id), "{from}: {id} is lost");
            }
        }
    }
}

#[tokio::test]
async fn a_device_that_cannot_be_stored_is_not_registered() {
    let storage = Failing::new(1, false);
    let push = PushOptions::new(DevicePlatform::Ios, storage, PushRecipient::apns("t"));
    let http = service();
    let rest = http.rest_with(ClientOptions::new(KEY).push(push));
    assert_eq!(rest.push().activate().await.unwrap_err().code().0, 50000);
    assert_eq!(
        rest.push().update_recipient(PushRecipient::apns("t1")).await.unwrap_err().code().0,
        50000
    );
    assert!(http.requests().is_empty());
}

#[tokio::test]
async fn a_look_at_the_device_stores_nothing() {
    let storage = MemoryPushStorage::new();
    let rest = service().rest_with(options(&storage));
    assert!(!rest.push().device().await.unwrap().is_registered());
    rest.push().deactivate().await.unwrap();
    assert_eq!(storage.load().unwrap(), None);
}

#[tokio::test]
async fn a_device_in_a_file_survives_its_client() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push").join("device");
    let options = || {
        let storage = capably::push::FilePushStorage::new(&path);
        let push = PushOptions::new(DevicePlatform::Ios, storage, PushRecipient::apns("t"));
        ClientOptions::new(KEY).push(push)
    };
    let first = service().rest_with(options());
    first.push().activate().await.unwrap();
    let device = first.device().unwrap();
    drop(first);
    let second = service().rest_with(options());
    assert_eq!(second.push().device().await.unwrap(), device);

    // A file in the place of the directory: not writable, whoever runs the test.
    second.push().deactivate().await.unwrap();
    std::fs::remove_dir_all(directory.path().join("push")).unwrap();
    std::fs::write(directory.path().join("push"), b"").unwrap();
    let http = service();
    let error = http.rest_with(options()).push().activate().await.unwrap_err();
    assert_eq!(error.code().0, 50000, "{error}");
    assert!(error.remediation().is_some());
    assert!(http.requests().is_empty());
}
