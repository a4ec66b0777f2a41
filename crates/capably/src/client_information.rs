//! Information about the library and its platform (CR).

use std::collections::BTreeMap;

use capably_protocol::ErrorCode;

use crate::{Error, Result, agents};

/// The agents in every request, with their versions: this library and the operating system (CR2a).
///
/// ```
/// let agents = capably::client_information::agents();
/// assert!(agents["capably-rust"].is_some());
/// ```
pub fn agents() -> BTreeMap<String, Option<String>> {
    agents::own().into_iter().collect()
}

/// The value of the `Ably-Agent` header with additional agents (CR3). Only SDKs that are built on this one need it,
/// like
/// [`ClientOptions::agent`](crate::ClientOptions::agent).
///
/// ```
/// let agent = capably::client_information::agent_identifier([("my-sdk", Some("1.2.3"))])?;
/// assert!(agent.starts_with("capably-rust/") && agent.ends_with(" my-sdk/1.2.3"));
/// # Ok::<(), capably::Error>(())
/// ```
///
/// # Errors
/// Code 40000 for a name or a version that is not valid in a header.
pub fn agent_identifier<'a>(
    additional: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<String> {
    let mut products = agents::own();
    let additional = additional.into_iter();
    products.extend(additional.map(|(name, version)| (name.into(), version.map(str::to_owned))));
    if let Some(name) = agents::unfit(&products).next() {
        let message = format!("`{name}` or its version is not valid in a header");
        return Err(Error::new(ErrorCode::BAD_REQUEST, 400, message).with_remedy(agents::REMEDY));
    }
    Ok(agents::identifier(&products))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientOptions;

    // Spec: CR1, CR2, CR2a
    #[test]
    fn the_library_and_the_system_are_named() {
        let known = agents();
        assert_eq!(known["capably-rust"].as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(known[std::env::consts::OS], None);
        assert_eq!(known.len(), 2);
    }

    // Spec: CR3, CR3a, CR3b, CR3c
    #[test]
    fn the_identifier_is_the_one_that_requests_carry() {
        let options = ClientOptions::new("app.key:secret");
        let agent = |options: ClientOptions| options.validate().expect("they are good").agent();
        assert_eq!(agent_identifier([]).expect("it is good"), agent(options.clone()));
        let sdks = [("chat", Some("1.2.3")), ("wrapped", None)];
        let options = options.agent("chat", Some("1.2.3")).agent("wrapped", None);
        assert_eq!(agent_identifier(sdks).expect("it is good"), agent(options));
        for sdk in [("two words", None), ("sdk", Some("1\r\n2")), ("", None)] {
            let error = agent_identifier([sdk]).expect_err("it cannot stand in a header");
            assert_eq!((error.code().0, error.status()), (40000, Some(400)));
        }
    }
}
