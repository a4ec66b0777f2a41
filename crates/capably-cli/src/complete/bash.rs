//! Completion in bash.

use std::{ffi::OsString, io, path::Path};

use clap::Command;
use clap_complete::{engine, env::EnvCompleter};

/// Bash splits words at colons and equals signs, too, and a channel name may contain them. So the script puts the words
/// together again, and removes from each candidate the part before the last split, which bash does not replace.
const SCRIPT: &str = r#"_capably() {
    local rest=${COMP_LINE:0:COMP_POINT} part word kept candidate
    local -a words=()
    for part in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -eq 0 || $rest == [[:space:]]* ]]; then
            words+=('')
            rest=${rest#"${rest%%[![:space:]]*}"}
        fi
        [[ $rest == "$part"* ]] || part=$rest
        words[${#words[@]}-1]+=$part
        rest=${rest#"$part"}
    done
    word=${words[${#words[@]}-1]}
    kept=${word%"$2"}
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("${candidate#"$kept"}")
    done < <(VARIABLE=bash COMPLETER -- "${words[@]}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o bashdefault -F _capably BIN
"#;

/// The completer for bash.
#[derive(Debug)]
pub(super) struct Bash;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == "bash"
    }

    fn write_registration(
        &self,
        variable: &str,
        _name: &str,
        bin: &str,
        completer: &str,
        script: &mut dyn io::Write,
    ) -> io::Result<()> {
        let text = SCRIPT.replace("VARIABLE", variable).replace("COMPLETER", completer);
        script.write_all(text.replace("BIN", bin).as_bytes())
    }

    /// Writes the candidates for the last word, one a line.
    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        directory: Option<&Path>,
        output: &mut dyn io::Write,
    ) -> io::Result<()> {
        let last = words.len().saturating_sub(1);
        for candidate in engine::complete(command, words, last, directory)? {
            writeln!(output, "{}", candidate.get_value().to_string_lossy())?;
        }
        Ok(())
    }
}
