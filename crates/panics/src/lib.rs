//! What a panic leaves behind. Every entry point catches panics and turns them into errors, so nothing is printed: the hook keeps the
//! message and its place in the source, and the error that JavaScript gets names both.
//!
//! A library that is opened at run time has a standard library, and so a hook, of its own: each installs this one.

use std::{
    any::Any,
    panic::{self, PanicHookInfo},
    path::{Component, Path},
    sync::{Mutex, Once},
};

/// The last panic of the process.
struct Last {
    message: String,
    place: String,
}

static LAST: Mutex<Option<Last>> = Mutex::new(None);

/// Installs the hook, once.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| panic::set_hook(Box::new(keep)));
}

fn keep(info: &PanicHookInfo<'_>) {
    let message = text(info.payload()).to_owned();
    let place = info.location().map_or_else(String::new, |l| format!("{}:{}", short(l.file()), l.line()));
    let mut last = LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // What cannot be caught ends the process: then this is the only word of it.
    if message.starts_with("panic in a ") {
        let cause = last.as_ref().map_or_else(String::new, |l| format!(": {} ({})", l.message, l.place));
        eprintln!("avjepa: internal error{cause}");
        return;
    }
    *last = Some(Last { message, place });
}

/// A path of the sources without the folders of the machine that built them: from `crates/` or the crate's own name on.
fn short(file: &str) -> String {
    let parts: Vec<&str> = Path::new(file)
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let source =
        parts.iter().rposition(|&part| part == "src").map_or(parts.len().saturating_sub(1), |i| i.saturating_sub(1));
    parts[source..].join("/")
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("unknown cause")
}

/// The message of the error that a caught panic becomes, with the place where it happened.
pub fn describe(payload: &(dyn Any + Send)) -> String {
    placed(&format!("internal error: {}", text(payload)))
}

/// `message` of an error that a caught panic became, with the place where it happened.
pub fn placed(message: &str) -> String {
    match &*LAST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        Some(last) if message.ends_with(&last.message) && !last.place.is_empty() => {
            format!("{message} ({})", last.place)
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::panic::catch_unwind;
    use std::process::Command;

    #[test]
    fn paths_begin_with_the_crate() {
        assert_eq!(short("crates/tensor/src/backend/cpu/pool.rs"), "tensor/src/backend/cpu/pool.rs");
        assert_eq!(
            short("/home/a/.cargo/registry/src/index-1/wgpu-core-30.0.2/src/lib.rs"),
            "wgpu-core-30.0.2/src/lib.rs"
        );
        assert_eq!(short("/rustc/0123/library/core/src/option.rs"), "core/src/option.rs");
        assert_eq!(short("main.rs"), "main.rs");
    }

    /// Run by the next test in a process of its own, since hooks are the process's.
    #[test]
    #[ignore = "prints what the next test reads"]
    fn a_panic_by_itself() {
        install();
        let panic = catch_unwind(|| panic!("index {} out of bounds", 7)).unwrap_err();
        writeln!(std::io::stdout(), "error: {}", describe(panic.as_ref())).unwrap();
        std::thread::spawn(|| panic!("on another thread")).join().unwrap_err();
    }

    #[test]
    fn a_caught_panic_prints_nothing_and_names_its_place() {
        let program = std::env::current_exe().unwrap();
        let arguments = ["--exact", "tests::a_panic_by_itself", "--ignored", "--nocapture"];
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let printed = String::from_utf8_lossy(&output.stdout);
        let error = "error: internal error: index 7 out of bounds (panics/src/lib.rs:";
        assert!(printed.contains(error), "{printed}");
    }
}
