// Attention within sequences of packed tokens, softmax on the way (Dao et al., arXiv 2205.14135). A workgroup takes one tile of
// ROWS tokens of one head, eight threads a token, and walks over the other side's tokens COLUMNS at a time.
// `tiles` holds, for each tile, its first token and the token after its last, and those of the other side's sequence.
// A head of `width` columns lies in shared memory as WIDE vectors of four, filled up with zeros.

const PARTS = 8u;
const THREADS = ROWS * PARTS;
// Vectors of a row that one thread owns.
const OWN = (WIDE + PARTS - 1u) / PARTS;

struct Tile { first: u32, end: u32, begin: u32, to: u32 }

fn tile_at(i: u32) -> Tile { return Tile(tiles(4u * i), tiles(4u * i + 1u), tiles(4u * i + 2u), tiles(4u * i + 3u)); }

// Four columns of a row that begins at `first`, 0 beyond the head.
fn q_part(first: u32, c: u32) -> vec4<f32> {
    if c + 3u < p.width { return vec4(q(first + c), q(first + c + 1u), q(first + c + 2u), q(first + c + 3u)); }
    var v = vec4(0.0);
    if c < p.width { v.x = q(first + c); }
    if c + 1u < p.width { v.y = q(first + c + 1u); }
    if c + 2u < p.width { v.z = q(first + c + 2u); }
    return v;
}

fn k_part(first: u32, c: u32) -> vec4<f32> {
    if c + 3u < p.width { return vec4(k(first + c), k(first + c + 1u), k(first + c + 2u), k(first + c + 3u)); }
    var v = vec4(0.0);
    if c < p.width { v.x = k(first + c); }
    if c + 1u < p.width { v.y = k(first + c + 1u); }
    if c + 2u < p.width { v.z = k(first + c + 2u); }
    return v;
}

fn v_part(first: u32, c: u32) -> vec4<f32> {
    if c + 3u < p.width { return vec4(v(first + c), v(first + c + 1u), v(first + c + 2u), v(first + c + 3u)); }
    var x = vec4(0.0);
    if c < p.width { x.x = v(first + c); }
    if c + 1u < p.width { x.y = v(first + c + 1u); }
    if c + 2u < p.width { x.z = v(first + c + 2u); }
    return x;
}

//: entry forward

var<workgroup> queries: array<vec4<f32>, ROWS * WIDE>;
// Keys, then values.
var<workgroup> others: array<vec4<f32>, COLUMNS * WIDE>;
var<workgroup> weights: array<f32, ROWS * COLUMNS>;
var<workgroup> largest: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn forward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = min(group_index(id, groups), p.count * p.heads - 1u);
    let tile = tile_at(g / p.heads);
    let head = g % p.heads;
    let row = thread / PARTS;
    let part = thread % PARTS;
    let token = tile.first + row;
    for (var e = thread; e < ROWS * WIDE; e += THREADS) {
        let t = tile.first + e / WIDE;
        var x = vec4(0.0);
        if t < tile.end { x = q_part(t * p.q_stride + p.q_first + head * p.width, 4u * (e % WIDE)); }
        queries[e] = x * p.scale;
    }
    var level = -infinity();
    var sum = 0.0;
    var mixed: array<vec4<f32>, OWN>;
    for (var j = 0u; j < OWN; j++) { mixed[j] = vec4(0.0); }
    for (var start = tile.begin; start < tile.to; start += COLUMNS) {
        for (var e = thread; e < COLUMNS * WIDE; e += THREADS) {
            let t = start + e / WIDE;
            var x = vec4(0.0);
            if t < tile.to { x = k_part(t * p.k_stride + p.k_first + head * p.width, 4u * (e % WIDE)); }
            others[e] = x;
        }
        workgroupBarrier();
        var scores: array<f32, COLUMNS / PARTS>;
        for (var j = 0u; j < COLUMNS / PARTS; j++) { scores[j] = 0.0; }
        for (var c = 0u; c < WIDE; c++) {
            let x = queries[row * WIDE + c];
            for (var j = 0u; j < COLUMNS / PARTS; j++) { scores[j] += dot(x, others[(part + j * PARTS) * WIDE + c]); }
        }
        var most = -infinity();
        for (var j = 0u; j < COLUMNS / PARTS; j++) {
            if start + part + j * PARTS >= tile.to { scores[j] = -infinity(); }
            most = greater(most, scores[j]);
        }
        largest[thread] = most;
        workgroupBarrier();
        // Keys have been used: values take their place.
        for (var e = thread; e < COLUMNS * WIDE; e += THREADS) {
            let t = start + e / WIDE;
            var x = vec4(0.0);
            if t < tile.to { x = v_part(t * p.v_stride + p.v_first + head * p.width, 4u * (e % WIDE)); }
            others[e] = x;
        }
        var next = level;
        for (var j = 0u; j < PARTS; j++) { next = greater(next, largest[row * PARTS + j]); }
        let shrink = exponential(level - next);
        level = next;
        sum *= shrink;
        for (var j = 0u; j < COLUMNS / PARTS; j++) {
            let w = exponential(scores[j] - level);
            weights[row * COLUMNS + part + j * PARTS] = w;
            sum += w;
        }
        for (var j = 0u; j < OWN; j++) { mixed[j] *= shrink; }
        workgroupBarrier();
        for (var t = 0u; t < COLUMNS; t++) {
            let w = weights[row * COLUMNS + t];
            for (var j = 0u; j < OWN; j++) {
                let c = part + j * PARTS;
                if c < WIDE { mixed[j] += w * others[t * WIDE + c]; }
            }
        }
        workgroupBarrier();
    }
    largest[thread] = sum;
    workgroupBarrier();
    if token >= tile.end || g != group_index(id, groups) { return; }
    sum = 0.0;
    for (var j = 0u; j < PARTS; j++) { sum += largest[row * PARTS + j]; }
    // A query without keys gives 0.
    let scale = select(1.0 / sum, 0.0, tile.begin == tile.to);
    let first = token * p.heads * p.width + head * p.width;
    for (var j = 0u; j < OWN; j++) {
        let c = 4u * (part + j * PARTS);
        let x = mixed[j] * scale;
        if c + 1u < p.width { put2_out(first + c, x.x, x.y); } else if c < p.width { put_out(first + c, x.x); }
        if c + 3u < p.width { put2_out(first + c + 2u, x.z, x.w); } else if c + 2u < p.width { put_out(first + c + 2u, x.z); }
    }
    if part == 0u { put_lse(head * p.tokens + p.tokens_before + token, level + logarithm(sum)); }
}

//: entry along

// `along` is Σ dout·out of each head and query, a thread each.
@compute @workgroup_size(64)
fn along(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = group_index(id, groups) * 64u + thread;
    if i >= p.count * p.heads { return; }
    let head = i / p.count;
    let first = (i % p.count) * p.heads * p.width + head * p.width;
    var sum = 0.0;
    for (var c = 0u; c < p.width; c++) { sum += dout(first + c) * result(first + c); }
    put_along(i, sum);
}

//: entry queries_grad

var<workgroup> own_q: array<vec4<f32>, ROWS * WIDE>;
var<workgroup> own_dout: array<vec4<f32>, ROWS * WIDE>;
var<workgroup> keys: array<vec4<f32>, COLUMNS * WIDE>;
var<workgroup> values: array<vec4<f32>, COLUMNS * WIDE>;
var<workgroup> slopes: array<f32, ROWS * COLUMNS>;

fn dout_part(first: u32, c: u32) -> vec4<f32> {
    var x = vec4(0.0);
    if c < p.width { x.x = dout(first + c); }
    if c + 1u < p.width { x.y = dout(first + c + 1u); }
    if c + 2u < p.width { x.z = dout(first + c + 2u); }
    if c + 3u < p.width { x.w = dout(first + c + 3u); }
    return x;
}

@compute @workgroup_size(THREADS)
fn queries_grad(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = min(group_index(id, groups), p.count * p.heads - 1u);
    let tile = tile_at(g / p.heads);
    let head = g % p.heads;
    let row = thread / PARTS;
    let part = thread % PARTS;
    let token = tile.first + row;
    for (var e = thread; e < ROWS * WIDE; e += THREADS) {
        let t = tile.first + e / WIDE;
        var x = vec4(0.0);
        var y = vec4(0.0);
        if t < tile.end {
            x = q_part(t * p.q_stride + p.q_first + head * p.width, 4u * (e % WIDE));
            y = dout_part(t * p.heads * p.width + head * p.width, 4u * (e % WIDE));
        }
        own_q[e] = x * p.scale;
        own_dout[e] = y;
    }
    var level = 0.0;
    var rest = 0.0;
    if token < tile.end {
        level = lse(head * p.tokens + p.tokens_before + token);
        rest = along(head * p.along_tokens + token);
    }
    var sum: array<vec4<f32>, OWN>;
    for (var j = 0u; j < OWN; j++) { sum[j] = vec4(0.0); }
    for (var start = tile.begin; start < tile.to; start += COLUMNS) {
        for (var e = thread; e < COLUMNS * WIDE; e += THREADS) {
            let t = start + e / WIDE;
            var x = vec4(0.0);
            var y = vec4(0.0);
            if t < tile.to {
                x = k_part(t * p.k_stride + p.k_first + head * p.width, 4u * (e % WIDE));
                y = v_part(t * p.v_stride + p.v_first + head * p.width, 4u * (e % WIDE));
            }
            keys[e] = x;
            values[e] = y;
        }
        workgroupBarrier();
        for (var j = part; j < COLUMNS; j += PARTS) {
            var score = 0.0;
            var slope = 0.0;
            for (var c = 0u; c < WIDE; c++) {
                score += dot(own_q[row * WIDE + c], keys[j * WIDE + c]);
                slope += dot(own_dout[row * WIDE + c], values[j * WIDE + c]);
            }
            var d = 0.0;
            if start + j < tile.to && token < tile.end { d = exponential(score - level) * (slope - rest); }
            slopes[row * COLUMNS + j] = d;
        }
        workgroupBarrier();
        for (var t = 0u; t < COLUMNS; t++) {
            let d = slopes[row * COLUMNS + t];
            for (var j = 0u; j < OWN; j++) {
                let c = part + j * PARTS;
                if c < WIDE { sum[j] += d * keys[t * WIDE + c]; }
            }
        }
        workgroupBarrier();
    }
    if token >= tile.end || g != group_index(id, groups) { return; }
    let first = token * p.dq_stride + p.dq_first + head * p.width;
    for (var j = 0u; j < OWN; j++) {
        let c = 4u * (part + j * PARTS);
        let x = sum[j] * p.scale;
        if c + 1u < p.width { put2_dq(first + c, x.x, x.y); } else if c < p.width { put_dq(first + c, x.x); }
        if c + 3u < p.width { put2_dq(first + c + 2u, x.z, x.w); } else if c + 2u < p.width { put_dq(first + c + 2u, x.z); }
    }
}

//: entry keys_grad

// Here the tile's tokens are keys, and queries are walked over.
var<workgroup> own_k: array<vec4<f32>, ROWS * WIDE>;
var<workgroup> own_v: array<vec4<f32>, ROWS * WIDE>;
var<workgroup> queries: array<vec4<f32>, COLUMNS * WIDE>;
var<workgroup> douts: array<vec4<f32>, COLUMNS * WIDE>;
var<workgroup> weights: array<f32, ROWS * COLUMNS>;
var<workgroup> slopes: array<f32, ROWS * COLUMNS>;

fn dout_part(first: u32, c: u32) -> vec4<f32> {
    var x = vec4(0.0);
    if c < p.width { x.x = dout(first + c); }
    if c + 1u < p.width { x.y = dout(first + c + 1u); }
    if c + 2u < p.width { x.z = dout(first + c + 2u); }
    if c + 3u < p.width { x.w = dout(first + c + 3u); }
    return x;
}

@compute @workgroup_size(THREADS)
fn keys_grad(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = min(group_index(id, groups), p.count * p.heads - 1u);
    let tile = tile_at(g / p.heads);
    let head = g % p.heads;
    let row = thread / PARTS;
    let part = thread % PARTS;
    let token = tile.first + row;
    for (var e = thread; e < ROWS * WIDE; e += THREADS) {
        let t = tile.first + e / WIDE;
        var x = vec4(0.0);
        var y = vec4(0.0);
        if t < tile.end {
            x = k_part(t * p.k_stride + p.k_first + head * p.width, 4u * (e % WIDE));
            y = v_part(t * p.v_stride + p.v_first + head * p.width, 4u * (e % WIDE));
        }
        own_k[e] = x * p.scale;
        own_v[e] = y;
    }
    var k_sum: array<vec4<f32>, OWN>;
    var v_sum: array<vec4<f32>, OWN>;
    for (var j = 0u; j < OWN; j++) {
        k_sum[j] = vec4(0.0);
        v_sum[j] = vec4(0.0);
    }
    for (var start = tile.begin; start < tile.to; start += COLUMNS) {
        for (var e = thread; e < COLUMNS * WIDE; e += THREADS) {
            let t = start + e / WIDE;
            var x = vec4(0.0);
            var y = vec4(0.0);
            if t < tile.to {
                x = q_part(t * p.q_stride + p.q_first + head * p.width, 4u * (e % WIDE));
                y = dout_part(t * p.heads * p.width + head * p.width, 4u * (e % WIDE));
            }
            queries[e] = x;
            douts[e] = y;
        }
        workgroupBarrier();
        for (var j = part; j < COLUMNS; j += PARTS) {
            var score = 0.0;
            var slope = 0.0;
            for (var c = 0u; c < WIDE; c++) {
                score += dot(own_k[row * WIDE + c], queries[j * WIDE + c]);
                slope += dot(own_v[row * WIDE + c], douts[j * WIDE + c]);
            }
            var w = 0.0;
            var d = 0.0;
            if start + j < tile.to && token < tile.end {
                w = exponential(score - lse(head * p.tokens + p.tokens_before + start + j));
                d = w * (slope - along(head * p.along_tokens + start + j));
            }
            weights[row * COLUMNS + j] = w;
            slopes[row * COLUMNS + j] = d;
        }
        workgroupBarrier();
        for (var t = 0u; t < COLUMNS; t++) {
            let w = weights[row * COLUMNS + t];
            let d = slopes[row * COLUMNS + t];
            for (var j = 0u; j < OWN; j++) {
                let c = part + j * PARTS;
                if c < WIDE {
                    k_sum[j] += d * queries[t * WIDE + c];
                    v_sum[j] += w * douts[t * WIDE + c];
                }
            }
        }
        workgroupBarrier();
    }
    if token >= tile.end || g != group_index(id, groups) { return; }
    let k_to = token * p.dk_stride + p.dk_first + head * p.width;
    let v_to = token * p.dv_stride + p.dv_first + head * p.width;
    for (var j = 0u; j < OWN; j++) {
        let c = 4u * (part + j * PARTS);
        let x = k_sum[j] * p.scale;
        let y = v_sum[j];
        if c + 1u < p.width {
            put2_dk(k_to + c, x.x, x.y);
            put2_dv(v_to + c, y.x, y.y);
        } else if c < p.width {
            put_dk(k_to + c, x.x);
            put_dv(v_to + c, y.x);
        }
        if c + 3u < p.width {
            put2_dk(k_to + c + 2u, x.z, x.w);
            put2_dv(v_to + c + 2u, y.z, y.w);
        } else if c + 2u < p.width {
            put_dk(k_to + c + 2u, x.z);
            put_dv(v_to + c + 2u, y.z);
        }
    }
}
