// One pass of AdamW over a chunk of parameters. HAS_EMA, HAS_SHADOW, HAS_CLIP and ZERO_GRAD say what there is.

fn clip_factor() -> f32 {
    if !HAS_CLIP { return 1.0; }
    let factor = p.limit / (norm(0u) + 1e-6);
    return select(factor, 1.0, factor > 1.0);
}

fn step(i: u32, clip: f32) -> f32 {
    let g = old_grad(i) * clip;
    let before = old_m(i);
    let first = before + p.rest1 * (g - before);
    let second = p.beta2 * old_v(i) + p.rest2 * g * g;
    put_m(i, first);
    put_v(i, second);
    let q = old_param(i) * p.decay - p.step_size * (first / (sqrt(second) / p.correction + p.eps));
    put_param(i, q);
    if HAS_EMA { put_ema(i, p.momentum * old_ema(i) + p.rest * q); }
    if ZERO_GRAD { put_grad(i, 0.0); }
    return q;
}

@compute @workgroup_size(256)
fn adamw(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = 2u * (group_index(id, groups) * 256u + thread);
    if i >= p.count { return; }
    let clip = clip_factor();
    let a = step(i, clip);
    if i + 1u < p.count {
        let b = step(i + 1u, clip);
        if HAS_SHADOW { put2_shadow(i, a, b); }
    } else if HAS_SHADOW {
        put_shadow(i, a);
    }
}
