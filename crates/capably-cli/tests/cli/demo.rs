use crate::support::{run, succeeded};

#[test]
fn the_demo_checks_every_message() {
    let output = succeeded(run(["demo"]));
    for kind in ["text", "binary", "JSON", "none"] {
        for direction in ["ada → bo ", " bo → ada"] {
            let line =
                |line: &&str| line.contains(direction) && line.contains(&format!("  {kind}"));
            let expected = if kind == "binary" { 2 } else { 1 };
            assert_eq!(
                output.lines().filter(line).count(),
                expected,
                "{kind}, {direction}: {output}"
            );
        }
    }
    let last = "All 4,212 messages arrived at both clients exactly once, in order and unchanged.";
    assert_eq!(output.lines().last(), Some(last));
}
