//! Tests that have a process to themselves.

use std::{any::type_name, io::Read as _};

use crate::{child::Child, runtime::run, surroundings};

/// Runs a test as [`run`] does, in a process of its own: the memory that it measures is its own, and not also that of the tests
/// beside it. The process is this one's program, told to run this test and no other; what it prints is printed.
///
/// # Panics
/// When the test does, or is not found by the name of the function that `test` was written in.
#[allow(clippy::print_stdout, reason = "what the test prints is the test's output")]
pub fn alone<F: Future<Output = ()>>(test: F) {
    if surroundings::alone() {
        return run(test);
    }
    // A future is named after the function it was written in, and that is the test: `it::faults::crowds::name::{{closure}}`.
    let name = type_name::<F>().trim_end_matches("::{{closure}}").split_once("::").expect("a path").1;
    let program = std::env::current_exe().expect("our own program");
    let mut said = tempfile::tempfile().expect("temporary file");
    let arguments = [
        &format!("{}=1", surroundings::ALONE),
        program.to_str().expect("a path in UTF-8"),
        "--exact",
        name,
        "--nocapture",
    ];
    let log = said.try_clone().expect("the file again");
    let succeeded = Child::start("env", &arguments.map(ToOwned::to_owned), log).wait();
    let mut text = String::new();
    std::io::Seek::rewind(&mut said).and_then(|()| said.read_to_string(&mut text)).expect("what it said is read");
    println!("{text}");
    assert!(succeeded && text.contains("test result: ok. 1 passed"), "{name} failed in a process of its own");
}
