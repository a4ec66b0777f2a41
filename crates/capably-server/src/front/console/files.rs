//! The files of the page, which the server has in its binary.

use std::{fmt::Write, sync::LazyLock};

use sha2::{Digest, Sha256};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// A file of the page.
#[derive(Debug)]
pub(super) struct File {
    /// The path below `/console/`.
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) content: &'static [u8],
    /// The `ETag`, with its quotes.
    pub(super) tag: String,
}

/// The table of all files: path and content type. A test compares it with the folder.
macro_rules! files {
    ($($path:literal $content_type:ident,)*) => {
        [$(($path, $content_type, include_bytes!(concat!("../../../console/", $path)) as &[u8]),)*]
    };
}

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    files! {
        "api.js" JS,
        "app.js" JS,
        "capability.js" JS,
        "chart.js" JS,
        "dom.js" JS,
        "format.js" JS,
        "index.html" HTML,
        "panels/channel.js" JS,
        "panels/channels.js" JS,
        "panels/connections.js" JS,
        "panels/faults.js" JS,
        "panels/frames.js" JS,
        "panels/members.js" JS,
        "panels/message.js" JS,
        "panels/messages.js" JS,
        "panels/objects.js" JS,
        "panels/overview.js" JS,
        "panels/shared.js" JS,
        "panels/statistics.js" JS,
        "panels/tokens.js" JS,
        "payload.js" JS,
        "presence.js" JS,
        "realtime.js" JS,
        "stream.js" JS,
        "style.css" CSS,
        "vcdiff.js" JS,
    }
    .into_iter()
    .map(|(path, content_type, content)| File { path, content_type, content, tag: tag(content) })
    .collect()
});

/// The file at this path below `/console/`; the empty path is that of the page itself.
pub(super) fn find(path: &str) -> Option<&'static File> {
    let path = if path.is_empty() { "index.html" } else { path };
    FILES.iter().find(|file| file.path == path)
}

fn tag(content: &[u8]) -> String {
    let mut tag = String::from("\"");
    for byte in &Sha256::digest(content)[..16] {
        // Writing to a string cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files_below(&path, found) } else { found.push(path) }
        }
    }

    #[test]
    fn the_table_has_every_file_of_the_folder_with_its_type() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        let mut found = Vec::new();
        files_below(&folder, &mut found);
        let found: BTreeMap<String, &str> = found
            .iter()
            .map(|path| {
                let content_type = match path.extension().unwrap().to_str().unwrap() {
                    "html" => HTML,
                    "css" => "text/css; charset=utf-8",
                    "js" => "text/javascript; charset=utf-8",
                    "svg" => "image/svg+xml",
                    other => panic!("the extension {other} has no content type"),
                };
                let path = path.strip_prefix(&folder).unwrap().to_str().unwrap();
                (path.replace('\\', "/"), content_type)
            })
            .collect();
        let table: BTreeMap<String, &str> =
            FILES.iter().map(|file| (file.path.to_owned(), file.content_type)).collect();
        assert_eq!(table, found);
    }
}
