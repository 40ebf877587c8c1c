//! What a device ran, and when: recorded between [`Trace::start`] and [`Trace::take`], for profiles.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

/// One operation's time on the device, in microseconds since the start of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub op: &'static str,
    pub start: f64,
    pub end: f64,
}

/// Off until it is started; then a lock an operation, which is nothing beside a kernel.
#[derive(Default)]
pub struct Trace {
    on: AtomicBool,
    spans: Mutex<Option<(Instant, Vec<Span>)>>,
}

impl Trace {
    /// Forgets what was recorded and begins.
    pub fn start(&self) {
        *self.spans.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Vec::new()));
        self.on.store(true, Relaxed);
    }

    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Ends the recording and gives it away; empty when none was started.
    pub fn take(&self) -> Vec<Span> {
        self.on.store(false, Relaxed);
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).take().map(|(_, spans)| spans).unwrap_or_default()
    }

    /// Runs `work`, recording it if the trace is on.
    pub fn record<T>(&self, op: &'static str, work: impl FnOnce() -> T) -> T {
        if !self.on.load(Relaxed) {
            return work();
        }
        let begun = Instant::now();
        let result = work();
        if let Some((origin, spans)) = self.spans.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let micros = |at: Instant| at.saturating_duration_since(*origin).as_secs_f64() * 1e6;
            spans.push(Span { op, start: micros(begun), end: micros(Instant::now()) });
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_between_start_and_take() {
        let trace = Trace::default();
        assert_eq!(trace.record("before", || 1), 1);
        trace.start();
        assert_eq!(trace.record("matmul", || 2), 2);
        trace.record("add", || ());
        let spans = trace.take();
        assert_eq!(spans.iter().map(|span| span.op).collect::<Vec<_>>(), ["matmul", "add"]);
        assert!(spans.iter().all(|span| span.start <= span.end) && spans[0].end <= spans[1].start, "{spans:?}");
        trace.record("after", || ());
        assert_eq!(trace.take(), []);
    }
}
