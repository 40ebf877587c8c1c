// What an adapter can do at the most: multiply-adds in registers, and copies. Other kernels are measured against these.

//: entry multiply_add

// A thread 32 chains of `rounds` multiply-adds, which do not wait for each other.
@compute @workgroup_size(256)
fn multiply_add(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 256u + thread;
    if i >= p.count { return; }
    var chains: array<vec4<f32>, 8>;
    for (var j = 0u; j < 8u; j++) { chains[j] = vec4(f32(i + j)); }
    for (var round = 0u; round < p.rounds; round++) {
        for (var j = 0u; j < 8u; j++) { chains[j] = fma(chains[j], vec4(p.factor), vec4(p.shift)); }
    }
    var sum = vec4(0.0);
    for (var j = 0u; j < 8u; j++) { sum += chains[j]; }
    put_y(i, sum.x + sum.y + sum.z + sum.w);
}

//: entry copy

// A thread four elements, neighbours beside neighbours.
@compute @workgroup_size(256)
fn copy(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = group_index(id, groups) * 1024u + thread;
    for (var i = first; i < min(first + 1024u, p.count); i += 256u) { put_y(i, x(i)); }
}
