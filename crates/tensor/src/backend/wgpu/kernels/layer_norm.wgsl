// y = (x − mean)·rstd·weight + bias; WIDTH threads a row, each of which holds EACH vectors of four of it, WIDTH apart, in registers.
// HAS_WEIGHT and HAS_BIAS say what there is; FOURS that rows are whole vectors.

// Which of four neighbours from column c on there are.
fn there(c: u32) -> vec4<bool> { return vec4(c, c + 1u, c + 2u, c + 3u) < vec4(p.columns); }

// Four neighbours of the row that begins at `first`, 0 beyond its end.
fn x_part(first: u32, c: u32) -> vec4<f32> {
    if FOURS {
        if c < p.columns { return x4(first + c); }
        return vec4(0.0);
    }
    if c + 3u < p.columns { return x4(first + c); }
    var v = vec4(0.0);
    if c < p.columns { v.x = x(first + c); }
    if c + 1u < p.columns { v.y = x(first + c + 1u); }
    if c + 2u < p.columns { v.z = x(first + c + 2u); }
    return v;
}

fn weight_part(c: u32) -> vec4<f32> {
    if !HAS_WEIGHT { return vec4(1.0); }
    if FOURS || c + 3u < p.columns { return weight4(c); }
    var v = vec4(0.0);
    if c < p.columns { v.x = weight(c); }
    if c + 1u < p.columns { v.y = weight(c + 1u); }
    if c + 2u < p.columns { v.z = weight(c + 2u); }
    return v;
}

fn total(v: vec4<f32>) -> f32 { return (v.x + v.y) + (v.z + v.w); }

//: entry forward

fn bias_part(c: u32) -> vec4<f32> {
    if !HAS_BIAS { return vec4(0.0); }
    if FOURS || c + 3u < p.columns { return bias4(c); }
    var v = vec4(0.0);
    if c < p.columns { v.x = bias(c); }
    if c + 1u < p.columns { v.y = bias(c + 1u); }
    if c + 2u < p.columns { v.z = bias(c + 2u); }
    return v;
}

@compute @workgroup_size(THREADS)
fn forward(t: Thread) {
    // A last row for threads beyond the end: barriers want all or none.
    let own = group_index(t.id, t.groups) * ROWS + place(t) / WIDTH;
    let row = min(own, p.rows - 1u);
    let lane = place(t) % WIDTH;
    let first = row * p.columns;
    var held: array<vec4<f32>, EACH>;
    var sum = vec4(0.0);
    for (var i = 0u; i < EACH; i++) {
        held[i] = x_part(first, 4u * (lane + i * WIDTH));
        sum += held[i];
    }
    let mean = group_sum(total(sum), t) / f32(p.columns);
    var squares = vec4(0.0);
    for (var i = 0u; i < EACH; i++) {
        held[i] -= mean;
        squares += select(vec4(0.0), held[i] * held[i], there(4u * (lane + i * WIDTH)));
    }
    let rstd = 1.0 / sqrt(group_sum(total(squares), t) / f32(p.columns) + p.eps);
    if row != own { return; }
    if lane == 0u {
        put_mean(row, mean);
        put_rstd(row, rstd);
    }
    for (var i = 0u; i < EACH; i++) {
        let c = 4u * (lane + i * WIDTH);
        if c >= p.columns { break; }
        let y = held[i] * rstd * weight_part(c) + bias_part(c);
        if FOURS || c + 1u < p.columns { put2_y(first + c, y.x, y.y); } else { put_y(first + c, y.x); }
        if FOURS || c + 3u < p.columns {
            put2_y(first + c + 2u, y.z, y.w);
        } else if c + 2u < p.columns {
            put_y(first + c + 2u, y.z);
        }
    }
}

//: entry input_grad

// dx = rstd·(g − mean g − x̂·mean(g·x̂)), g = dy·weight.
fn dy_part(first: u32, c: u32) -> vec4<f32> {
    if FOURS {
        if c < p.columns { return dy4(first + c); }
        return vec4(0.0);
    }
    if c + 3u < p.columns { return dy4(first + c); }
    var v = vec4(0.0);
    if c < p.columns { v.x = dy(first + c); }
    if c + 1u < p.columns { v.y = dy(first + c + 1u); }
    if c + 2u < p.columns { v.z = dy(first + c + 2u); }
    return v;
}

@compute @workgroup_size(THREADS)
fn input_grad(t: Thread) {
    let own = group_index(t.id, t.groups) * ROWS + place(t) / WIDTH;
    let row = min(own, p.rows - 1u);
    let lane = place(t) % WIDTH;
    let first = row * p.columns;
    let centre = mean(row);
    let scale = rstd(row);
    // g and x̂. Beyond the row's end g is 0.
    var slopes: array<vec4<f32>, EACH>;
    var normal: array<vec4<f32>, EACH>;
    var sums = vec4(0.0);
    var products = vec4(0.0);
    for (var i = 0u; i < EACH; i++) {
        let c = 4u * (lane + i * WIDTH);
        slopes[i] = vec4(0.0);
        normal[i] = vec4(0.0);
        if c < p.columns {
            slopes[i] = dy_part(first, c) * weight_part(c);
            normal[i] = (x_part(first, c) - centre) * scale;
        }
        sums += slopes[i];
        products += select(vec4(0.0), slopes[i] * normal[i], there(c));
    }
    let sum = group_sum(total(sums), t) / f32(p.columns);
    let along = group_sum(total(products), t) / f32(p.columns);
    if row != own { return; }
    for (var i = 0u; i < EACH; i++) {
        let c = 4u * (lane + i * WIDTH);
        if c >= p.columns { break; }
        let dx = scale * (slopes[i] - sum - normal[i] * along);
        if FOURS || c + 1u < p.columns { put2_dx(first + c, dx.x, dx.y); } else { put_dx(first + c, dx.x); }
        if FOURS || c + 3u < p.columns {
            put2_dx(first + c + 2u, dx.z, dx.w);
        } else if c + 2u < p.columns {
            put_dx(first + c + 2u, dx.z);
        }
    }
}

//: entry weight_grad

// A thread a column of `height` rows: Σ dy·x̂ (OF_WEIGHT) or Σ dy, to be joined.
@compute @workgroup_size(THREADS)
fn weight_grad(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * THREADS + thread;
    let c = i % p.columns;
    let part = i / p.columns;
    let end = min((part + 1u) * p.height, p.rows);
    if part >= p.parts { return; }
    var sum = 0.0;
    for (var row = part * p.height; row < end; row++) {
        let j = row * p.columns + c;
        var v = dy(j);
        if OF_WEIGHT { v *= (x(j) - mean(row)) * rstd(row); }
        sum += v;
    }
    put_sums(p.first + i, sum);
}
