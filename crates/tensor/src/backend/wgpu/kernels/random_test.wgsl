// For tests: operations of float64.wgsl on pairs, and blocks of philox.wgsl.

//: entry operation

fn flag(yes: bool) -> vec2<u32> { return vec2(select(0u, 1u, yes), 0u); }

@compute @workgroup_size(64)
fn operation(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 64u + thread;
    if i >= p.count { return; }
    let a = raw_a(i);
    let b = raw_b(i);
    switch OPERATION {
        case 0u: { put_raw_y(i, add64(a, b)); }
        case 1u: { put_raw_y(i, subtract64(a, b)); }
        case 2u: { put_raw_y(i, multiply64(a, b)); }
        case 3u: { put_raw_y(i, divide64(a, b)); }
        case 4u: { put_raw_y(i, root64(a)); }
        case 5u: { put_raw_y(i, flag(less64(a, b))); }
        case 6u: { put_raw_y(i, next_down64(a)); }
        case 7u: { put_raw_y(i, vec2(to_f32_bits(a), 0u)); }
        case 8u: { put_raw_y(i, from_f32_bits(a.x)); }
        case 9u: { put_raw_y(i, scaled64(a, 0)); }
        default: { put_raw_y(i, from_i32(i32(a.x))); }
    }
}

//: entry block

@compute @workgroup_size(64)
fn block(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 64u + thread;
    if i >= p.count { return; }
    let words = philox(vec4(raw_a(2u * i), raw_a(2u * i + 1u)), raw_b(i));
    put2_raw_y(2u * i, words.xy, words.zw);
}
