//! The agents in the `Ably-Agent` header (RSC7d).

use std::fmt::Write as _;

/// The name of an agent, and its version if it has one.
pub(crate) type Agent = (String, Option<String>);

/// The agents of every request: this library and the operating system.
pub(crate) fn own() -> Vec<Agent> {
    vec![
        ("capably-rust".to_owned(), Some(env!("CARGO_PKG_VERSION").to_owned())),
        (std::env::consts::OS.to_owned(), None),
    ]
}

/// The value of the header, such as `name/version name` (RSC7d1).
pub(crate) fn identifier(agents: &[Agent]) -> String {
    let mut identifier = String::new();
    for (name, version) in agents {
        if !identifier.is_empty() {
            identifier.push(' ');
        }
        identifier.push_str(name);
        if let Some(version) = version {
            let _ = write!(identifier, "/{version}");
        }
    }
    identifier
}

/// The names of agents whose name or version is not valid in the header.
pub(crate) fn unfit(agents: &[Agent]) -> impl Iterator<Item = &str> {
    let fits = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
    };
    agents
        .iter()
        .filter(move |(name, version)| !fits(name) || !version.as_deref().is_none_or(fits))
        .map(|(name, _)| name.as_str())
}

/// The remedy for agents that are not valid in the header.
pub(crate) const REMEDY: &str = "use visible ASCII characters other than `/`";
