//! Real FFTs in float64, planned once a thread and length.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use realfft::num_complex::Complex64;
use realfft::{RealFftPlanner, RealToComplex};

struct Plan {
    fft: Arc<dyn RealToComplex<f64>>,
    input: Vec<f64>,
    output: Vec<Complex64>,
    scratch: Vec<Complex64>,
}

thread_local! {
    static PLANS: RefCell<HashMap<usize, Plan>> = RefCell::new(HashMap::new());
}

/// For each of `frames` frames: `fill` writes `length` samples, `read` gets the length/2 + 1 bins.
pub fn for_each_spectrum(
    length: usize,
    frames: usize,
    mut fill: impl FnMut(usize, &mut [f64]),
    mut read: impl FnMut(usize, &[Complex64]),
) {
    PLANS.with_borrow_mut(|plans| {
        let plan = plans.entry(length).or_insert_with(|| {
            let fft = RealFftPlanner::<f64>::new().plan_fft_forward(length);
            let (input, output, scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
            Plan { fft, input, output, scratch }
        });
        for frame in 0..frames {
            fill(frame, &mut plan.input);
            let done = plan.fft.process_with_scratch(&mut plan.input, &mut plan.output, &mut plan.scratch);
            assert!(done.is_ok(), "the buffers come from the plan: {done:?}");
            read(frame, &plan.output);
        }
    });
}
