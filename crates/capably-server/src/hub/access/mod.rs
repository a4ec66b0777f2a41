//! Access: keys, capabilities, tokens, and who a request is from.

pub(crate) mod capability;
pub(super) mod claims;
pub(crate) mod identity;
pub(super) mod issuing;
pub(crate) mod revocation;
pub(crate) mod secret;
pub(crate) mod token;
pub(crate) mod token_request;
