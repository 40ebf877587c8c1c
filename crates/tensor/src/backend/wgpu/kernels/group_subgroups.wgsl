// group.wgsl for adapters with subgroups: these find theirs by themselves, and only their results go through shared memory.

struct Thread {
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane: u32,
}

var<workgroup> partial: array<f32, WIDTH>;

// Hands a subgroup's result to the others.
fn share(value: f32, t: Thread) {
    workgroupBarrier();
    if t.lane == 0u { partial[t.subgroup] = value; }
    workgroupBarrier();
}

fn group_sum(value: f32, t: Thread) -> f32 {
    share(subgroupAdd(value), t);
    var sum = partial[0];
    for (var i = 1u; i < t.subgroups; i++) { sum += partial[i]; }
    return sum;
}

// NaN where any is; drivers differ in what a maximum makes of it.
fn group_max(value: f32, t: Thread) -> f32 {
    let invalid = subgroupAny(is_nan(value));
    let own = subgroupMax(value);
    share(select(own, not_a_number(), invalid), t);
    var largest = partial[0];
    for (var i = 1u; i < t.subgroups; i++) { largest = greater(largest, partial[i]); }
    return largest;
}
