//! The threads that kernels run on.
//!
//! One set of workers lives as long as the process. [`parallel_for`] hands out task numbers from a counter, so that a slow core takes
//! fewer tasks; **what a task computes may depend on shapes only, never on the number of threads**, which is why results do not either.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// How often an idle thread looks for work before it sleeps: some tens of microseconds, the pause between two kernels.
const SPINS: u32 = 4000;

/// The number of threads `AVJEPA_THREADS` asks for, else that of the available cores.
///
/// # Errors
/// A message when `AVJEPA_THREADS` is not a whole number from 1 to 1024.
pub fn configured_threads() -> Result<usize, String> {
    match std::env::var("AVJEPA_THREADS") {
        Ok(text) if !text.is_empty() => match text.trim().parse::<usize>() {
            Ok(n) if (1..=1024).contains(&n) => Ok(n),
            _ => Err(format!("AVJEPA_THREADS={text} is not a number of threads; give a whole number from 1 to 1024")),
        },
        _ => Ok(std::thread::available_parallelism().map_or(1, |n| n.get())),
    }
}

/// How many threads take part in [`parallel_for`] here: [`configured_threads`], read once, or what [`with_threads`] says.
///
/// # Panics
/// With `configured_threads`' message; call that first where an error is wanted.
pub fn threads() -> usize {
    OWN.with_borrow(|own| own.as_ref().map(|pool| pool.workers + 1)).unwrap_or_else(configured_once)
}

fn configured_once() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| configured_threads().unwrap_or_else(|message| panic!("{message}")))
}

/// Runs `f(0)`, `f(1)`, ... `f(tasks - 1)`, each once, on the caller and the workers; returns when all are done.
///
/// A call from inside a task, or while another thread's call has the workers, runs on the calling thread alone.
///
/// # Panics
/// With a task's own panic, once every other task that had started is done; tasks not yet started are dropped. The pool stays usable.
pub fn parallel_for(tasks: usize, f: impl Fn(usize) + Sync) {
    let alone = tasks <= 1 || IN_TASK.get() || threads() <= 1;
    if alone || !try_share(tasks, &f) {
        for i in 0..tasks {
            f(i);
        }
    }
}

/// Runs `f` with `n` threads in every [`parallel_for`] it makes on this thread, whatever the configuration says.
pub fn with_threads<R>(n: usize, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<Pool>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OWN.replace(self.0.take());
        }
    }
    let _restore = Restore(OWN.replace(Some(Arc::new(Pool::new(n.max(1) - 1)))));
    f()
}

thread_local! {
    /// Whether this thread is inside a task.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    /// The pool of the enclosing `with_threads`.
    static OWN: RefCell<Option<Arc<Pool>>> = const { RefCell::new(None) };
}

fn try_share(tasks: usize, f: &(dyn Fn(usize) + Sync)) -> bool {
    static GLOBAL: OnceLock<Pool> = OnceLock::new();
    match OWN.with_borrow(Clone::clone) {
        Some(pool) => pool.run(tasks, f),
        None => GLOBAL.get_or_init(|| Pool::new(configured_once() - 1)).run(tasks, f),
    }
}

struct Pool {
    workers: usize,
    shared: Arc<Shared>,
    /// Held by the thread whose tasks are running.
    owner: Mutex<()>,
    handles: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Number of the job in `job`, so that a spinning worker sees a new one without taking the lock. Stop is `u64::MAX`.
    generation: AtomicU64,
    job: Mutex<Option<Arc<Job>>>,
    wake: Condvar,
}

/// One `parallel_for`. `f` is only called while `next` hands out tasks, which the caller waits for before its `f` goes away.
struct Job {
    f: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    next: AtomicUsize,
    /// Tasks finished or dropped; the job is over when it reaches `tasks`.
    done: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    over: (Mutex<()>, Condvar),
}

// SAFETY: `f` points to a `Sync` closure that outlives every use (see `Pool::run`).
unsafe impl Send for Job {}
unsafe impl Sync for Job {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn new(workers: usize) -> Pool {
        let shared = Arc::new(Shared { generation: AtomicU64::new(0), job: Mutex::new(None), wake: Condvar::new() });
        // A worker that the system refuses is done without: the others, and the caller, take its tasks.
        let handles = (0..workers)
            .map_while(|i| {
                let shared = shared.clone();
                std::thread::Builder::new().name(format!("avjepa-{i}")).spawn(move || work(&shared)).ok()
            })
            .collect();
        Pool { workers, shared, owner: Mutex::new(()), handles }
    }

    /// False when another thread's tasks are running.
    fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) -> bool {
        let Ok(_owner) = self.owner.try_lock() else { return false };
        // SAFETY: only the lifetime is erased. `f` is called for tasks below `tasks`, all of which are done before this returns.
        let f =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync + 'static)>(f) };
        let job = Arc::new(Job {
            f,
            tasks,
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            panic: Mutex::new(None),
            over: (Mutex::new(()), Condvar::new()),
        });
        {
            let mut slot = lock(&self.shared.job);
            *slot = Some(job.clone());
            self.shared.generation.fetch_add(1, Ordering::Release);
        }
        if tasks == 2 {
            self.shared.wake.notify_one();
        } else {
            self.shared.wake.notify_all();
        }
        job.take_tasks();
        job.wait();
        *lock(&self.shared.job) = None;
        let panic = lock(&job.panic).take();
        drop(_owner);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
        true
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _slot = lock(&self.shared.job);
            self.shared.generation.store(u64::MAX, Ordering::Release);
        }
        self.shared.wake.notify_all();
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

impl Job {
    fn take_tasks(&self) {
        let outer = IN_TASK.replace(true);
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= self.tasks {
                break;
            }
            // SAFETY: task `i` is not done, so the caller still waits and `f` is alive.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { (*self.f)(i) }));
            let mut finished = 1;
            if let Err(payload) = result {
                lock(&self.panic).get_or_insert(payload);
                // Claim what is left, so that nobody starts it.
                let claimed = self.next.swap(self.tasks, Ordering::Relaxed).min(self.tasks);
                finished += self.tasks - claimed;
            }
            if self.done.fetch_add(finished, Ordering::AcqRel) + finished == self.tasks {
                let _guard = lock(&self.over.0);
                self.over.1.notify_all();
            }
        }
        IN_TASK.set(outer);
    }

    fn wait(&self) {
        for _ in 0..SPINS {
            if self.done.load(Ordering::Acquire) == self.tasks {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = lock(&self.over.0);
        while self.done.load(Ordering::Acquire) != self.tasks {
            guard = self.over.1.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A worker's life: spin a little for a new job, then sleep until one is announced.
fn work(shared: &Shared) {
    let mut seen = 0;
    loop {
        for _ in 0..SPINS {
            if shared.generation.load(Ordering::Acquire) != seen {
                break;
            }
            std::hint::spin_loop();
        }
        let job = {
            let mut slot = lock(&shared.job);
            loop {
                let generation = shared.generation.load(Ordering::Acquire);
                if generation == u64::MAX {
                    return;
                }
                if generation != seen {
                    seen = generation;
                    break slot.clone();
                }
                slot = shared.wake.wait(slot).unwrap_or_else(PoisonError::into_inner);
            }
        };
        if let Some(job) = job {
            job.take_tasks();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squares(tasks: usize) -> Vec<usize> {
        let out: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        parallel_for(tasks, |i| {
            out[i].fetch_add(i * i + 1, Ordering::Relaxed);
        });
        out.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_task_runs_once() {
        for threads in 1..=4 {
            with_threads(threads, || {
                assert_eq!(super::threads(), threads);
                for tasks in [0, 1, 2, 3, 100, 1000] {
                    assert_eq!(squares(tasks), (0..tasks).map(|i| i * i + 1).collect::<Vec<_>>());
                }
            });
        }
    }

    #[test]
    fn several_threads_take_part() {
        with_threads(3, || {
            let ids = Mutex::new(std::collections::HashSet::new());
            parallel_for(200, |_| {
                ids.lock().unwrap().insert(std::thread::current().id());
                std::thread::sleep(std::time::Duration::from_micros(200));
            });
            assert_eq!(ids.into_inner().unwrap().len(), 3);
        });
    }

    #[test]
    fn nested_calls_run_inline() {
        with_threads(3, || {
            let count = AtomicUsize::new(0);
            parallel_for(5, |_| {
                let id = std::thread::current().id();
                parallel_for(7, |_| {
                    assert_eq!(std::thread::current().id(), id);
                    count.fetch_add(1, Ordering::Relaxed);
                });
            });
            assert_eq!(count.into_inner(), 35);
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        with_threads(3, || {
            for _ in 0..20 {
                let caught = catch_unwind(|| {
                    parallel_for(50, |i| assert_ne!(i, 20, "task twenty"));
                });
                let message = *caught.unwrap_err().downcast::<String>().unwrap();
                assert!(message.contains("task twenty"), "{message}");
                assert_eq!(squares(64).len(), 64);
            }
        });
    }

    #[test]
    fn callers_on_many_threads_do_not_wait_for_ever() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        assert_eq!(squares(33)[32], 1025);
                    }
                });
            }
        });
    }
}
