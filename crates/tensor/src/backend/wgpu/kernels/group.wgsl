// Sums and maxima over rows that WIDTH threads share; a workgroup of THREADS takes ROWS of them. In one order whatever the row.

const THREADS = max(WIDTH, 64u);
const ROWS = THREADS / WIDTH;

var<workgroup> shared_values: array<f32, THREADS>;

// The sum of `value` over the threads of this thread's row: by halves down to eight, which each of them adds up.
fn group_sum(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    shared_values[thread] = value;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half >= 8u; half = half >> 1u) {
        if thread % WIDTH < half { shared_values[thread] += shared_values[thread + half]; }
        workgroupBarrier();
    }
    let first = thread - thread % WIDTH;
    var sum = 0.0;
    for (var i = first; i < first + 8u; i++) { sum += shared_values[i]; }
    return sum;
}

fn group_max(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    shared_values[thread] = value;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half >= 8u; half = half >> 1u) {
        if thread % WIDTH < half { shared_values[thread] = greater(shared_values[thread], shared_values[thread + half]); }
        workgroupBarrier();
    }
    let first = thread - thread % WIDTH;
    var most = shared_values[first];
    for (var i = first + 1u; i < first + 8u; i++) { most = greater(most, shared_values[i]); }
    return most;
}
