//! Products, as the `Ably-Agent` header names them (RSC7d).

use std::fmt::Write as _;

/// A product, and its version if it has one.
pub(crate) type Agent = (String, Option<String>);

/// What is named in every request: this library, and the system that it runs on.
pub(crate) fn own() -> Vec<Agent> {
    vec![
        ("capably-rust".to_owned(), Some(env!("CARGO_PKG_VERSION").to_owned())),
        (std::env::consts::OS.to_owned(), None),
    ]
}

/// `name/version name`, as the header has them (RSC7d1).
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

/// The names of those that cannot stand in a header, or whose version cannot.
pub(crate) fn unfit(agents: &[Agent]) -> impl Iterator<Item = &str> {
    let fits = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
    };
    agents
        .iter()
        .filter(move |(name, version)| !fits(name) || !version.as_deref().is_none_or(fits))
        .map(|(name, _)| name.as_str())
}

/// What is to be done about those.
pub(crate) const REMEDY: &str = "use visible ASCII characters other than `/`";
