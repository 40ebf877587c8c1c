//! What is to go wrong: `AVJEPA_NCCL_DOUBLE_FAULT=RANK:FUNCTION:NUMBER:FAULT`.

use std::cell::RefCell;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed, without a word.
    Die,
    /// The call answers with this code.
    Return(i32),
    /// The call is accepted, and the communicator fails with this code.
    Async(i32),
    /// The call is accepted and never comes to an end.
    Never,
}

thread_local! {
    static CALLS: RefCell<HashMap<&'static str, u32>> = RefCell::default();
}

/// What happens to this call of this rank; kills the process where that is asked.
pub fn of_call(rank: i32, function: &'static str) -> Option<Fault> {
    let number = CALLS.with_borrow_mut(|calls| {
        let count = calls.entry(function).or_default();
        *count += 1;
        *count
    });
    let text = std::env::var("AVJEPA_NCCL_DOUBLE_FAULT").ok()?;
    let words: Vec<_> = text.splitn(4, ':').collect();
    let [wanted, name, nth, fault] = words[..] else { return None };
    if wanted != rank.to_string() || name != function || nth != number.to_string() {
        return None;
    }
    match parse(fault) {
        Fault::Die => die(),
        fault => Some(fault),
    }
}

fn parse(text: &str) -> Fault {
    let mut words = text.split_whitespace();
    let (word, code) = (words.next(), words.next().and_then(|code| code.parse().ok()));
    match (word, code) {
        (Some("die"), None) => Fault::Die,
        (Some("never"), None) => Fault::Never,
        (Some("return"), Some(code)) => Fault::Return(code),
        (Some("async"), Some(code)) => Fault::Async(code),
        _ => panic!("AVJEPA_NCCL_DOUBLE_FAULT: {text:?} is no fault"),
    }
}

fn die() -> ! {
    unsafe extern "C" {
        fn raise(signal: i32) -> i32;
    }
    // SAFETY: SIGKILL, whose number is the same everywhere, ends the process.
    unsafe { raise(9) };
    std::process::abort()
}
