//! What the other tests take for granted of the engines they start.

use waystation_testing::engine::Engine;

#[test]
fn engines_run_side_by_side_and_keep_what_they_hold_when_they_are_stopped() {
    let engine = Engine::start();
    let other = Engine::start();
    engine.put("a/1", "one");
    engine.stop();
    assert_eq!(other.keys(""), [] as [&str; 0]);

    engine.resume();
    engine.put("a/2", "two");
    engine.put("b", "three");
    assert_eq!(engine.keys(""), ["a/1", "a/2", "b"]);
    assert_eq!(engine.keys("a/"), ["a/1", "a/2"]);
    engine.delete("a/1");
    assert_eq!(engine.keys("a/"), ["a/2"]);
}
