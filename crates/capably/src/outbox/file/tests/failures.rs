//! A disk that is full or read-only at any step, for one step or from then on.

use std::ops::Range;

use super::{
    super::disk::faults::{self, Fault},
    *,
};

/// The result of writes while the disk fails.
struct Run {
    /// The number of steps of the disk.
    steps: usize,
    /// What the store had accepted.
    accepted: Model,
    /// What a file may have instead if a failed write could not be undone: that, and a part of the write.
    leftovers: Vec<Model>,
    errors: Vec<Error>,
    is_rewritten: bool,
}

/// Writes groups of changes to a store that is written anew now and then, while some steps fail.
fn run(directory: &Path, fault: Fault, failing: Range<usize>) -> Run {
    let mut random = fastrand::Rng::with_seed(5);
    let (mut accepted, mut leftovers, mut errors) = (Model::new(), Vec::new(), Vec::new());
    let (mut next, mut is_rewritten) = (1, false);
    faults::plan(fault, failing);
    match FileOutbox::open(directory) {
        Err(error) => errors.push(error),
        Ok(mut store) => {
            (store.log.slack, store.log.rewrite_at) = (0, 0);
            let salt = store.log.salt;
            for number in 0..9 {
                let changes = if number % 4 == 3 {
                    accepted.keys().map(|seq| OutboxChange::Remove(*seq)).collect()
                } else {
                    group(&mut random, &accepted, &mut next)
                };
                match store.write(&changes) {
                    Ok(()) => {
                        apply(&mut accepted, &changes);
                        leftovers.clear();
                    }
                    Err(error) => {
                        errors.push(error);
                        if leftovers.is_empty() {
                            leftovers = (1..=changes.len())
                                .map(|part| {
                                    let mut model = accepted.clone();
                                    apply(&mut model, &changes[..part]);
                                    model
                                })
                                .collect();
                        }
                    }
                }
                assert_eq!(contents(&mut store), accepted, "what was accepted stays readable");
                if number % 3 == 2
                    && let Err(error) = store.sync()
                {
                    errors.push(error);
                }
            }
            is_rewritten = store.log.salt != salt;
        }
    }
    Run { steps: faults::heal(), accepted, leftovers, errors, is_rewritten }
}

/// Lets each step fail, alone and with all that follow it.
fn for_each_step(fault: Fault, check: impl Fn(&Path, Run)) {
    let directory = tempfile::tempdir().unwrap();
    let whole = run(directory.path(), fault, 0..0);
    assert!(whole.errors.is_empty());
    assert!(whole.is_rewritten, "the log was written anew");
    for first in 0..whole.steps {
        for failing in [first..first + 1, first..usize::MAX] {
            let directory = tempfile::tempdir().unwrap();
            check(directory.path(), run(directory.path(), fault, failing));
        }
    }
}

#[test]
fn a_full_disk_refuses_writes_and_leaves_nothing_of_them_behind() {
    for_each_step(Fault::Full, |directory, run| {
        for error in &run.errors {
            assert_eq!(error.code(), ErrorCode::INTERNAL_ERROR);
            assert!(error.remediation().unwrap().starts_with("free space on the disk"), "{error}");
        }
        let mut store = FileOutbox::open(directory).unwrap();
        assert_eq!(contents(&mut store), run.accepted);
        let seq = store.next_seq();
        store.write(&[accept(seq, b"there is space again")]).unwrap();
    });
}

#[test]
fn a_disk_that_becomes_read_only_loses_nothing_that_was_accepted() {
    for_each_step(Fault::ReadOnly, |directory, run| {
        for error in &run.errors {
            assert_eq!(error.code(), ErrorCode::INTERNAL_ERROR);
            assert!(error.remediation().unwrap().starts_with("let the process write"), "{error}");
        }
        let mut store = FileOutbox::open(directory).unwrap();
        let found = contents(&mut store);
        assert!(found == run.accepted || run.leftovers.contains(&found), "{found:?}");
    });
}

#[test]
fn a_store_works_again_when_its_disk_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = FileOutbox::open(directory.path()).unwrap();
    store.write(&[accept(1, b"before")]).unwrap();
    faults::plan(Fault::ReadOnly, 0..usize::MAX);
    for seq in 2..5 {
        let error = store.write(&[accept(seq, b"refused")]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::INTERNAL_ERROR);
    }
    faults::heal();
    store.write(&[accept(5, b"after")]).unwrap();
    assert_eq!(contents(&mut store).into_keys().collect::<Vec<_>>(), [1, 5]);
    drop(store);
    let mut store = FileOutbox::open(directory.path()).unwrap();
    assert_eq!(contents(&mut store).into_keys().collect::<Vec<_>>(), [1, 5]);
}

#[test]
fn a_read_only_directory_is_refused_when_it_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    faults::plan(Fault::ReadOnly, 0..usize::MAX);
    let error = FileOutbox::open(directory.path()).unwrap_err();
    faults::heal();
    assert_eq!(error.code(), ErrorCode::INTERNAL_ERROR);
    assert!(error.message().starts_with("could not open the outbox"), "{error}");
    assert_eq!(error.remediation(), Some("let the process write to the directory"));
    let source = std::error::Error::source(&error).unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::ReadOnlyFilesystem);
}
