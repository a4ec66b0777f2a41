//! The test data that all Ably client libraries share, as JSON text.
//!
//! It is for the tests of crates that build on this one: a crate can include only files of its own archive. The feature
//! `fixtures` adds this module.

/// Messages in both formats (RSL6a1).
pub const MESSAGES: &str = include_str!("../tests/fixtures/messages-encoding.json");
/// Presence messages in both formats (RTP8e).
pub const PRESENCE_MESSAGES: &str =
    include_str!("../tests/fixtures/presence-messages-encoding.json");
/// MessagePack of messages (RSL6a3).
pub const MSGPACK: &str = include_str!("../tests/fixtures/msgpack_test_fixtures.json");
/// Encrypted payloads, with a key of 128 bits (RSL5c).
pub const CRYPTO_128: &str = include_str!("../tests/fixtures/crypto-data-128.json");
/// Encrypted payloads, with a key of 256 bits (RSL5c).
pub const CRYPTO_256: &str = include_str!("../tests/fixtures/crypto-data-256.json");
/// The body of the request that creates the app of the tests.
pub const TEST_APP: &str = include_str!("../tests/fixtures/test-app-setup.json");
