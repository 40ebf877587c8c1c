//! The collective of NCCL over the test double: ranks are threads, each with a device that is the host. No GPU has seen any of this.

use avjepa_comm::nccl::{self, OpenError, Place};
use avjepa_comm::{Collective, CommError, Reduction, Values};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The double reads the environment, which is the process's: one test at a time.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

/// Names the double's file, and what else is to be set.
fn double(settings: &[(&str, &str)]) -> MutexGuard<'static, ()> {
    let held = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let name = format!("{}avjepa_nccl_double{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let file: PathBuf = deps.join(name);
    assert!(file.exists(), "{} is built before the tests", file.display());
    let defaults = [("DEVICES", "8"), ("VERSION", "22703"), ("FAULT", "")];
    // SAFETY: whoever reads or writes the environment here holds the lock.
    unsafe {
        std::env::set_var("AVJEPA_NCCL_LIBRARY", &file);
        std::env::set_var("AVJEPA_CUDA_LIBRARY", &file);
        for (name, value) in defaults.iter().chain(settings) {
            std::env::set_var(format!("AVJEPA_NCCL_DOUBLE_{name}"), value);
        }
    }
    held
}

fn places(world: usize) -> Vec<Place> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let limit = Duration::from_secs(30);
    let place = |rank| {
        let (address, run) = ("127.0.0.1".to_owned(), format!("test {} {port}", std::process::id()));
        Place { rank, world, local_rank: rank, address, port, run, limit }
    };
    (0..world).map(place).collect()
}

/// What `work` returns on each of `world` ranks, or why there are none.
fn on_ranks<R: Send>(world: usize, work: impl Fn(Box<dyn Collective>) -> R + Sync) -> Vec<Result<R, OpenError>> {
    std::thread::scope(|scope| {
        let work = &work;
        let begin =
            |place: Place| scope.spawn(move || nccl::open(&place).map(|(collective, _)| work(Box::new(collective))));
        let threads: Vec<_> = places(world).into_iter().map(begin).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// A value that tells rank and place.
fn value(rank: usize, k: usize) -> f32 {
    (rank * 7 + k % 1000) as f32 * 0.125
}

#[test]
fn every_call_on_one_two_and_three_ranks_over_several_chunks() {
    let _held = double(&[]);
    // More than two chunks of four MiB, and not a multiple of anything.
    let n = 2_500_003;
    for world in [1, 2, 3] {
        let done = on_ranks(world, |mut comm| {
            let rank = comm.rank();
            assert_eq!(comm.world(), world);
            let mut sums: Vec<f32> = (0..n).map(|k| value(rank, k)).collect();
            comm.all_reduce(Values::F32(&mut sums), Reduction::Sum).unwrap();
            let expected = |k| (0..world).map(|r| value(r, k)).sum::<f32>();
            assert!((0..n).all(|k| sums[k] == expected(k)));

            let mut numbers = [rank as f64 + 0.5, -1.0];
            comm.all_reduce(Values::F64(&mut numbers), Reduction::Sum).unwrap();
            assert_eq!(numbers, [(world * world) as f64 / 2.0, -(world as f64)]);

            let mut largest = [rank as f64, if rank == 0 { f64::NAN } else { 1.0 }, -(rank as f64)];
            comm.all_reduce(Values::F64(&mut largest), Reduction::Max).unwrap();
            assert_eq!(largest[0], world as f64 - 1.0);
            assert!(largest[1].is_nan(), "what is no number stays seen");
            assert_eq!(largest[2], 0.0);

            let part = 700_001;
            let whole: Vec<f32> = (0..part * world).map(|k| value(rank, k)).collect();
            let mut own = vec![0.0; part];
            comm.reduce_scatter(&whole, &mut own, Reduction::Sum).unwrap();
            assert!((0..part).all(|k| own[k] == expected(rank * part + k)));
            let mut most = [0.0; 1];
            let each: Vec<f32> = (0..world).map(|k| (10 * k + rank) as f32).collect();
            comm.reduce_scatter(&each, &mut most, Reduction::Max).unwrap();
            assert_eq!(most, [(10 * rank + world - 1) as f32]);

            let bytes: Vec<u8> = (0..9_000_001).map(|k| (k * 3 + rank) as u8).collect();
            let mut all = vec![0; bytes.len() * world];
            comm.all_gather(&bytes, &mut all).unwrap();
            for (r, part) in all.chunks_exact(bytes.len()).enumerate() {
                assert!(part.iter().enumerate().all(|(k, byte)| *byte == (k * 3 + r) as u8));
            }

            let root = world - 1;
            let mut given = bytes.clone();
            comm.broadcast(&mut given, root).unwrap();
            assert_eq!(given, all[root * bytes.len()..]);
            comm.broadcast(&mut [], 0).unwrap();
            comm.all_gather(&[], &mut []).unwrap();
            comm.reduce_scatter(&[], &mut [], Reduction::Sum).unwrap();
            comm.barrier().unwrap();
            comm.close()
        });
        assert_eq!(done, vec![Ok(Ok(())); world]);
    }
}

#[test]
fn ranks_that_do_different_things_are_told_so() {
    let _held = double(&[]);
    let errors = on_ranks(2, |mut comm| match comm.rank() {
        0 => comm.barrier().unwrap_err().to_string(),
        _ => comm.all_reduce(Values::F64(&mut [1.0, 2.0]), Reduction::Sum).unwrap_err().to_string(),
    });
    assert_eq!(errors[0].as_deref(), Ok("barrier on rank 0: of 0 bytes, while rank 1 calls all_reduce (sum) of 16"));
    assert_eq!(errors[1].as_deref(), Ok("all_reduce (sum) on rank 1: of 16 bytes, while rank 0 calls barrier of 0"));
}

/// Sums until something fails.
fn sums(mut comm: Box<dyn Collective>) -> CommError {
    loop {
        if let Err(error) = comm.all_reduce(Values::F32(&mut [1.0; 5]), Reduction::Sum) {
            return error;
        }
    }
}

#[test]
fn a_call_that_fails_on_one_rank_fails_on_all_with_its_reason() {
    for (fault, reason) in [
        (
            "1:ncclAllReduce:3:return 2",
            "unhandled system error (run with NCCL_DEBUG=INFO for details): a fault that was asked for",
        ),
        ("1:ncclAllReduce:2:async 6", "remote process exited or there was a network error: a fault that was asked for"),
    ] {
        let _held = double(&[("FAULT", fault)]);
        let errors: Vec<_> = on_ranks(3, sums).into_iter().map(|error| error.unwrap().message).collect();
        assert!(errors[1].starts_with("NCCL: ") && errors[1].ends_with(reason), "{errors:?}");
        for other in [0, 2] {
            assert_eq!(errors[other], format!("rank 1 is gone: {}", errors[1]));
        }
    }
}

#[test]
fn a_call_that_never_ends_is_given_up_when_that_is_asked() {
    let _held = double(&[("FAULT", "0:ncclAllReduce:2:never")]);
    let errors = on_ranks(2, |comm| {
        let interrupter = comm.interrupter().unwrap();
        if comm.rank() == 0 {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                interrupter.store(true, std::sync::atomic::Ordering::Relaxed);
            });
        }
        sums(comm).message
    });
    assert_eq!(errors[0].as_deref(), Ok("interrupted"));
    assert_eq!(errors[1].as_deref(), Ok("rank 0 is gone: interrupted"));
}

#[test]
fn after_a_failure_no_call_is_made() {
    let _held = double(&[("FAULT", "0:ncclAllReduce:1:return 2")]);
    let done = on_ranks(1, |mut comm| {
        comm.all_reduce(Values::F32(&mut [1.0]), Reduction::Sum).unwrap_err();
        comm.barrier().unwrap_err().message
    });
    assert_eq!(done, [Ok("the connection has failed before".to_owned())]);
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let open = || nccl::open(&places(1)[0]).map(drop).unwrap_err();
    let _held = double(&[("VERSION", "21000")]);
    let old = open();
    assert!(old.message.ends_with("is NCCL 2.10.0: 2.14 is the oldest that will do"), "{old:?}");
    assert!(old.hint.unwrap().contains("nvidia-nccl-cu12"));
    drop(_held);

    let _held = double(&[("DEVICES", "0")]);
    let none = open();
    assert!(
        none.message.ends_with("does not start: no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE)"),
        "{none:?}"
    );
    drop(_held);

    let _held = double(&[]);
    // SAFETY: the lock is held.
    unsafe { std::env::set_var("AVJEPA_CUDA_LIBRARY", "/nowhere/libcuda.so.1") };
    let driver = open();
    assert!(
        driver.message.contains("/nowhere/libcuda.so.1") && driver.message.contains("$AVJEPA_CUDA_LIBRARY"),
        "{driver:?}"
    );
    assert!(driver.hint.unwrap().contains("NVIDIA's driver"));
    // SAFETY: as above.
    unsafe { std::env::set_var("AVJEPA_NCCL_LIBRARY", "libm.so.6") };
    assert_eq!(open().message, "libm.so.6 has no function ncclGetVersion");
}

#[test]
fn two_ranks_on_one_gpu_are_refused() {
    let _held = double(&[("DEVICES", "1")]);
    let refused = on_ranks(2, |_| ());
    for (rank, answer) in refused.into_iter().enumerate() {
        let error = answer.unwrap_err();
        assert!(
            error.message.contains("Duplicate GPU detected") || error.message.contains("is gone"),
            "{rank}: {error:?}"
        );
    }
}
