//! The processor time and the memory that this process has used so far. Both Rust clients include this file.

use std::fs;

/// Seconds for which the threads of this process were running.
pub fn cpu() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").expect("this is Linux");
    let nanos = |path| {
        // A thread may end after it was listed.
        let text = fs::read_to_string(path).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    tasks.flatten().filter_map(|task| nanos(task.path().join("schedstat"))).sum::<f64>() / 1e9
}

/// Bytes of memory, as the system counts them.
pub fn memory() -> u64 {
    counted("VmRSS:")
}

/// The part of it that is the process's own: without the pages of programs and libraries, which are those of files.
pub fn own_memory() -> u64 {
    counted("RssAnon:")
}

fn counted(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.expect("the system counts the memory of a process") * 1024
}
