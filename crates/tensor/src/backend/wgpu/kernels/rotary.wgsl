// Neighbouring columns of each head turned by the token's angles; columns outside the heads are copied.

fn turned(m: u32, c: u32) -> f32 {
    let i = m * p.columns + c;
    let v = x(i);
    // Beyond the heads, wrapped around before them.
    let within = c - p.first;
    if within >= p.heads * p.width { return v; }
    let d = within % p.width;
    let low = (d & 1u) == 0u;
    // A last column without a partner is copied.
    if low && d + 1u == p.width { return v; }
    let at = m * p.width + d;
    let other = x(select(i - 1u, i + 1u, low));
    if TRANSPOSE {
        if low { return v * cosines(at) + other * sines(at + 1u); }
        return v * cosines(at) - other * sines(at - 1u);
    }
    if low { return v * cosines(at) - other * sines(at); }
    return v * cosines(at) + other * sines(at);
}

@compute @workgroup_size(256)
fn rotary(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = 2u * (group_index(id, groups) * 256u + thread);
    if i >= p.rows * p.columns { return; }
    let a = turned(i / p.columns, i % p.columns);
    if i + 1u < p.rows * p.columns {
        put2_y(i, a, turned((i + 1u) / p.columns, (i + 1u) % p.columns));
    } else {
        put_y(i, a);
    }
}
