// What a workgroup of WIDTH threads finds together, through shared memory. Every thread calls these, and has the result.

struct Thread {
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
}

var<workgroup> partial: array<f32, WIDTH>;

fn group_sum(value: f32, t: Thread) -> f32 {
    workgroupBarrier();
    partial[t.index] = value;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half > 0u; half = half >> 1u) {
        if t.index < half { partial[t.index] += partial[t.index + half]; }
        workgroupBarrier();
    }
    return partial[0];
}

// NaN where any is.
fn group_max(value: f32, t: Thread) -> f32 {
    workgroupBarrier();
    partial[t.index] = value;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half > 0u; half = half >> 1u) {
        if t.index < half { partial[t.index] = greater(partial[t.index], partial[t.index + half]); }
        workgroupBarrier();
    }
    return partial[0];
}
