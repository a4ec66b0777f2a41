//! A fuzz target of the links between pages, for the crate in `fuzz/`.

use super::link::{Links, resolve};

/// The values of a `Link` header, on one line each. A link leads to the same host, whatever it contains.
pub fn link(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let links = Links::parse(text.lines());
    for link in
        [links.first, links.current, links.next].into_iter().flatten().chain([text.to_owned()])
    {
        let origin = "https://a.example";
        for base in ["/channels/a%2Fb/messages?limit=2", "/", "/stats"] {
            let Ok(target) = resolve(&link, base, origin) else { continue };
            assert!(target.starts_with('/'), "{link:?} leads to {target:?}");
            let whole = format!("{origin}{target}");
            if let Ok(uri) = whole.parse::<hyper::Uri>() {
                assert_eq!(uri.host(), Some("a.example"), "{link:?} leads to {whole:?}");
            }
        }
    }
}
