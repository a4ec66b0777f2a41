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

/// Bytes of memory, as the system counts them (`VmRSS`).
pub fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.expect("the system counts the memory of a process") * 1024
}
