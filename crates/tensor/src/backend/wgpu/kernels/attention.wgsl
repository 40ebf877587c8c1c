// Attention within sequences of packed tokens, softmax on the way (Dao et al., arXiv 2205.14135). A workgroup takes one tile of
// ROWS tokens of one head and walks over the other side's tokens COLUMNS at a time. Eight threads share four rows: a thread makes
// their scores with every eighth column, and every eighth vector of their results.
// `tiles` holds, for each tile, its first token and the token after its last, and those of the other side's sequence.
// A head of `width` columns lies in shared memory as WIDE vectors of four, filled up with zeros unless it is WHOLE.

const PARTS = 8u;
// Groups of four rows.
const FOURS = ROWS / 4u;
const THREADS = FOURS * PARTS;
// Columns, and vectors of a result's row, of one thread.
const EACH = COLUMNS / PARTS;
const OWN = (WIDE + PARTS - 1u) / PARTS;
// Odd numbers of vectors from row to row: neighbours are not in one bank.
const PITCH = WIDE | 1u;
const FOURS_PITCH = FOURS + 1u;

struct Tile { first: u32, end: u32, begin: u32, to: u32 }

fn tile_at(i: u32) -> Tile { return Tile(tiles(4u * i), tiles(4u * i + 1u), tiles(4u * i + 2u), tiles(4u * i + 3u)); }

// Four columns of a row that begins at `first`, 0 beyond the head.
fn q_part(first: u32, c: u32) -> vec4<f32> {
    if WHOLE || c + 3u < p.width { return q4(first + c); }
    var x = vec4(0.0);
    if c < p.width { x.x = q(first + c); }
    if c + 1u < p.width { x.y = q(first + c + 1u); }
    if c + 2u < p.width { x.z = q(first + c + 2u); }
    return x;
}

fn k_part(first: u32, c: u32) -> vec4<f32> {
    if WHOLE || c + 3u < p.width { return k4(first + c); }
    var x = vec4(0.0);
    if c < p.width { x.x = k(first + c); }
    if c + 1u < p.width { x.y = k(first + c + 1u); }
    if c + 2u < p.width { x.z = k(first + c + 2u); }
    return x;
}

fn v_part(first: u32, c: u32) -> vec4<f32> {
    if WHOLE || c + 3u < p.width { return v4(first + c); }
    var x = vec4(0.0);
    if c < p.width { x.x = v(first + c); }
    if c + 1u < p.width { x.y = v(first + c + 1u); }
    if c + 2u < p.width { x.z = v(first + c + 2u); }
    return x;
}

//: entry forward

var<workgroup> queries: array<vec4<f32>, ROWS * PITCH>;
// Keys, then values.
var<workgroup> others: array<vec4<f32>, COLUMNS * PITCH>;
// Of each column, four rows a vector.
var<workgroup> weights: array<vec4<f32>, COLUMNS * FOURS_PITCH>;
var<workgroup> largest: array<vec4<f32>, THREADS>;

@compute @workgroup_size(THREADS)
fn forward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let g = min(group_index(id, groups), p.count * p.heads - 1u);
    let tile = tile_at(g / p.heads);
    let head = g % p.heads;
    let four = thread / PARTS;
    let part = thread % PARTS;
    let token = tile.first + 4u * four;
    let inside = token < tile.end;
    for (var e = thread; e < ROWS * WIDE; e += THREADS) {
        let t = tile.first + e / WIDE;
        var x = vec4(0.0);
        if t < tile.end { x = q_part(t * p.q_stride + p.q_first + head * p.width, 4u * (e % WIDE)); }
        queries[e / WIDE * PITCH + e % WIDE] = x * p.scale;
    }
    var level = vec4(-infinity());
    var sum = vec4(0.0);
    // Four rows of each vector.
    var mixed: array<vec4<f32>, 4u * OWN>;
    for (var j = 0u; j < 4u * OWN; j++) { mixed[j] = vec4(0.0); }
    for (var start = tile.begin; start < tile.to; start += COLUMNS) {
        let columns = min(COLUMNS, tile.to - start);
        for (var e = thread; e < columns * WIDE; e += THREADS) {
            let row = (start + e / WIDE) * p.k_stride + p.k_first + head * p.width;
            others[e / WIDE * PITCH + e % WIDE] = k_part(row, 4u * (e % WIDE));
        }
        workgroupBarrier();
        var scores: array<vec4<f32>, EACH>;
        for (var j = 0u; j < EACH; j++) { scores[j] = vec4(0.0); }
        if inside {
            let own = 4u * four * PITCH;
            for (var at = own; at < own + WIDE; at++) {
                let c = at - own;
                let x0 = queries[at];
                let x1 = queries[at + PITCH];
                let x2 = queries[at + 2u * PITCH];
                let x3 = queries[at + 3u * PITCH];
                for (var j = 0u; j < EACH; j++) {
                    let y = others[(part + j * PARTS) * PITCH + c];
                    scores[j] += vec4(dot(x0, y), dot(x1, y), dot(x2, y), dot(x3, y));
                }
            }
        }
        var most = vec4(-infinity());
        for (var j = 0u; j < EACH; j++) {
            // What lies beyond the last column is left from before.
            if part + j * PARTS >= columns { scores[j] = vec4(-infinity()); }
            most = greater4(most, scores[j]);
        }
        largest[thread] = most;
        workgroupBarrier();
        // Keys have been used: values take their place.
        for (var e = thread; e < columns * WIDE; e += THREADS) {
            let row = (start + e / WIDE) * p.v_stride + p.v_first + head * p.width;
            others[e / WIDE * PITCH + e % WIDE] = v_part(row, 4u * (e % WIDE));
        }
        var next = level;
        for (var j = four * PARTS; j < (four + 1u) * PARTS; j++) { next = greater4(next, largest[j]); }
        let shrink = exponential4(level - next);
        level = next;
        sum *= shrink;
        for (var j = 0u; j < EACH; j++) {
            let w = exponential4(scores[j] - level);
            weights[(part + j * PARTS) * FOURS_PITCH + four] = w;
            sum += w;
        }
        for (var j = 0u; j < 4u * OWN; j++) { mixed[j] *= shrink[j % 4u]; }
        workgroupBarrier();
        if inside {
            for (var t = 0u; t < columns; t++) {
                let w = weights[t * FOURS_PITCH + four];
                for (var j = 0u; j < OWN; j++) {
                    let c = part + j * PARTS;
                    if c < WIDE {
                        let y = others[t * PITCH + c];
                        for (var r = 0u; r < 4u; r++) { mixed[4u * j + r] += w[r] * y; }
                    }
                }
            }
        }
        workgroupBarrier();
    }
    largest[thread] = sum;
    workgroupBarrier();
    sum = vec4(0.0);
    for (var j = four * PARTS; j < (four + 1u) * PARTS; j++) { sum += largest[j]; }
    // A query without keys gives 0.
    let scale = select(1.0 / sum, vec4(0.0), tile.begin == tile.to);
    // Through shared memory, so that neighbours write neighbours.
    for (var j = 0u; j < 4u * OWN; j++) {
        let c = part + j / 4u * PARTS;
        if c < WIDE { queries[(4u * four + j % 4u) * PITCH + c] = mixed[j] * scale[j % 4u]; }
    }
    workgroupBarrier();
    if g != group_index(id, groups) { return; }
    if part < 4u && token + part < tile.end {
        put_lse(head * p.tokens + p.tokens_before + token + part, level[part] + logarithm(sum[part]));
    }
    for (var e = thread; e < (tile.end - tile.first) * WIDE; e += THREADS) {
        let c = 4u * (e % WIDE);
        let at = (tile.first + e / WIDE) * p.heads * p.width + head * p.width + c;
        let x = queries[e / WIDE * PITCH + e % WIDE];
        if WHOLE || c + 1u < p.width { put2_out(at, x.x, x.y); } else { put_out(at, x.x); }
        if WHOLE || c + 3u < p.width { put2_out(at + 2u, x.z, x.w); } else if c + 2u < p.width { put_out(at + 2u, x.z); }
    }
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

var<workgroup> own_q: array<vec4<f32>, ROWS * PITCH>;
var<workgroup> own_dout: array<vec4<f32>, ROWS * PITCH>;
var<workgroup> keys: array<vec4<f32>, COLUMNS * PITCH>;
var<workgroup> values: array<vec4<f32>, COLUMNS * PITCH>;
// Of each column, four rows a vector.
var<workgroup> slopes: array<vec4<f32>, COLUMNS * FOURS_PITCH>;

fn dout_part(first: u32, c: u32) -> vec4<f32> {
    if WHOLE || c + 3u < p.width { return dout4(first + c); }
    var x = vec4(0.0);
    if c < p.width { x.x = dout(first + c); }
    if c + 1u < p.width { x.y = dout(first + c + 1u); }
    if c + 2u < p.width { x.z = dout(first + c + 2u); }
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
    let four = thread / PARTS;
    let part = thread % PARTS;
    let token = tile.first + 4u * four;
    let inside = token < tile.end;
    for (var e = thread; e < ROWS * WIDE; e += THREADS) {
        let t = tile.first + e / WIDE;
        var x = vec4(0.0);
        var y = vec4(0.0);
        if t < tile.end {
            x = q_part(t * p.q_stride + p.q_first + head * p.width, 4u * (e % WIDE));
            y = dout_part(t * p.heads * p.width + head * p.width, 4u * (e % WIDE));
        }
        own_q[e / WIDE * PITCH + e % WIDE] = x * p.scale;
        own_dout[e / WIDE * PITCH + e % WIDE] = y;
    }
    var level = vec4(0.0);
    var rest = vec4(0.0);
    for (var r = 0u; r < 4u; r++) {
        if token + r < tile.end {
            level[r] = lse(head * p.tokens + p.tokens_before + token + r);
            rest[r] = along(head * p.along_tokens + token + r);
        }
    }
    // Four rows of each vector.
    var sum: array<vec4<f32>, 4u * OWN>;
    for (var j = 0u; j < 4u * OWN; j++) { sum[j] = vec4(0.0); }
    for (var start = tile.begin; start < tile.to; start += COLUMNS) {
        let columns = min(COLUMNS, tile.to - start);
        for (var e = thread; e < columns * WIDE; e += THREADS) {
            let t = start + e / WIDE;
            let at = e / WIDE * PITCH + e % WIDE;
            keys[at] = k_part(t * p.k_stride + p.k_first + head * p.width, 4u * (e % WIDE));
            values[at] = v_part(t * p.v_stride + p.v_first + head * p.width, 4u * (e % WIDE));
        }
        workgroupBarrier();
        if inside {
            var scores: array<vec4<f32>, EACH>;
            var dweights: array<vec4<f32>, EACH>;
            for (var j = 0u; j < EACH; j++) {
                scores[j] = vec4(0.0);
                dweights[j] = vec4(0.0);
            }
            let own = 4u * four * PITCH;
            for (var at = own; at < own + WIDE; at++) {
                let c = at - own;
                let x0 = own_q[at];
                let x1 = own_q[at + PITCH];
                let x2 = own_q[at + 2u * PITCH];
                let x3 = own_q[at + 3u * PITCH];
                let d0 = own_dout[at];
                let d1 = own_dout[at + PITCH];
                let d2 = own_dout[at + 2u * PITCH];
                let d3 = own_dout[at + 3u * PITCH];
                for (var j = 0u; j < EACH; j++) {
                    let y = keys[(part + j * PARTS) * PITCH + c];
                    let z = values[(part + j * PARTS) * PITCH + c];
                    scores[j] += vec4(dot(x0, y), dot(x1, y), dot(x2, y), dot(x3, y));
                    dweights[j] += vec4(dot(d0, z), dot(d1, z), dot(d2, z), dot(d3, z));
                }
            }
            for (var j = 0u; j < EACH; j++) {
                slopes[(part + j * PARTS) * FOURS_PITCH + four] = exponential4(scores[j] - level) * (dweights[j] - rest);
            }
        }
        workgroupBarrier();
        if inside {
            for (var t = 0u; t < columns; t++) {
                let d = slopes[t * FOURS_PITCH + four];
                for (var j = 0u; j < OWN; j++) {
                    let c = part + j * PARTS;
                    if c < WIDE {
                        let y = keys[t * PITCH + c];
                        for (var r = 0u; r < 4u; r++) { sum[4u * j + r] += d[r] * y; }
                    }
                }
            }
        }
        workgroupBarrier();
    }
    // Through shared memory, so that neighbours write neighbours.
    for (var j = 0u; j < 4u * OWN; j++) {
        let c = part + j / 4u * PARTS;
        if c < WIDE { own_q[(4u * four + j % 4u) * PITCH + c] = sum[j] * p.scale; }
    }
    workgroupBarrier();
    if g != group_index(id, groups) { return; }
    for (var e = thread; e < (tile.end - tile.first) * WIDE; e += THREADS) {
        let c = 4u * (e % WIDE);
        let at = (tile.first + e / WIDE) * p.dq_stride + p.dq_first + head * p.width + c;
        let x = own_q[e / WIDE * PITCH + e % WIDE];
        if WHOLE || c + 1u < p.width { put2_dq(at, x.x, x.y); } else { put_dq(at, x.x); }
        if WHOLE || c + 3u < p.width { put2_dq(at + 2u, x.z, x.w); } else if c + 2u < p.width { put_dq(at + 2u, x.z); }
    }
}

//: entry keys_grad

// Here the tile's tokens are keys, and queries are walked over.
var<workgroup> own_k: array<vec4<f32>, ROWS * PITCH>;
var<workgroup> own_v: array<vec4<f32>, ROWS * PITCH>;
var<workgroup> queries: array<vec4<f32>, COLUMNS * PITCH>;
var<workgroup> douts: array<vec4<f32>, COLUMNS * PITCH>;
// Of each column, four rows a vector.
var<workgroup> weights: array<vec4<f32>, COLUMNS * FOURS_PITCH>;
var<workgroup> slopes: array<vec4<f32>, COLUMNS * FOURS_PITCH>;

fn dout_part(first: u32, c: u32) -> vec4<f32> {
    if WHOLE || c + 3u < p.width { return dout4(first + c); }
    var x = vec4(0.0);
    if c < p.width { x.x = dout(first + c); }
    if c + 1u < p.width { x.y = dout(first + c + 1u); }
    if c + 2u < p.width { x.z = dout(first + c + 2u); }
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
    let four = thread / PARTS;
    let part = thread % PARTS;
    let token = tile.first + 4u * four;
    let inside = token < tile.end;
    for (var e = thread; e < ROWS * WIDE; e += THREADS) {
        let t = tile.first + e / WIDE;
        var x = vec4(0.0);
        var y = vec4(0.0);
        if t < tile.end {
            x = k_part(t * p.k_stride + p.k_first + head * p.width, 4u * (e % WIDE));
            y = v_part(t * p.v_stride + p.v_first + head * p.width, 4u * (e % WIDE));
        }
        own_k[e / WIDE * PITCH + e % WIDE] = x * p.scale;
        own_v[e / WIDE * PITCH + e % WIDE] = y;
    }
    // Four rows of each vector.
    var k_sum: array<vec4<f32>, 4u * OWN>;
    var v_sum: array<vec4<f32>, 4u * OWN>;
    for (var j = 0u; j < 4u * OWN; j++) {
        k_sum[j] = vec4(0.0);
        v_sum[j] = vec4(0.0);
    }
    for (var start = tile.begin; start < tile.to; start += COLUMNS) {
        let columns = min(COLUMNS, tile.to - start);
        for (var e = thread; e < columns * WIDE; e += THREADS) {
            let t = start + e / WIDE;
            let at = e / WIDE * PITCH + e % WIDE;
            queries[at] = q_part(t * p.q_stride + p.q_first + head * p.width, 4u * (e % WIDE));
            douts[at] = dout_part(t * p.heads * p.width + head * p.width, 4u * (e % WIDE));
        }
        workgroupBarrier();
        if inside {
            var scores: array<vec4<f32>, EACH>;
            var dweights: array<vec4<f32>, EACH>;
            for (var j = 0u; j < EACH; j++) {
                scores[j] = vec4(0.0);
                dweights[j] = vec4(0.0);
            }
            let own = 4u * four * PITCH;
            for (var at = own; at < own + WIDE; at++) {
                let c = at - own;
                let x0 = own_k[at];
                let x1 = own_k[at + PITCH];
                let x2 = own_k[at + 2u * PITCH];
                let x3 = own_k[at + 3u * PITCH];
                let d0 = own_v[at];
                let d1 = own_v[at + PITCH];
                let d2 = own_v[at + 2u * PITCH];
                let d3 = own_v[at + 3u * PITCH];
                for (var j = 0u; j < EACH; j++) {
                    let y = queries[(part + j * PARTS) * PITCH + c];
                    let z = douts[(part + j * PARTS) * PITCH + c];
                    scores[j] += vec4(dot(x0, y), dot(x1, y), dot(x2, y), dot(x3, y));
                    dweights[j] += vec4(dot(d0, z), dot(d1, z), dot(d2, z), dot(d3, z));
                }
            }
            for (var j = 0u; j < EACH; j++) {
                let column = part + j * PARTS;
                if column < columns {
                    let t = start + column;
                    let w = exponential4(scores[j] - lse(head * p.tokens + p.tokens_before + t));
                    weights[column * FOURS_PITCH + four] = w;
                    slopes[column * FOURS_PITCH + four] = w * (dweights[j] - along(head * p.along_tokens + t));
                }
            }
        }
        workgroupBarrier();
        if inside {
            for (var t = 0u; t < columns; t++) {
                let w = weights[t * FOURS_PITCH + four];
                let d = slopes[t * FOURS_PITCH + four];
                for (var j = 0u; j < OWN; j++) {
                    let c = part + j * PARTS;
                    if c < WIDE {
                        let y = queries[t * PITCH + c];
                        let z = douts[t * PITCH + c];
                        for (var r = 0u; r < 4u; r++) {
                            k_sum[4u * j + r] += d[r] * y;
                            v_sum[4u * j + r] += w[r] * z;
                        }
                    }
                }
            }
        }
        workgroupBarrier();
    }
    // Through shared memory, so that neighbours write neighbours.
    for (var j = 0u; j < 4u * OWN; j++) {
        let c = part + j / 4u * PARTS;
        if c < WIDE {
            own_k[(4u * four + j % 4u) * PITCH + c] = k_sum[j] * p.scale;
            own_v[(4u * four + j % 4u) * PITCH + c] = v_sum[j];
        }
    }
    workgroupBarrier();
    if g != group_index(id, groups) { return; }
    for (var e = thread; e < (tile.end - tile.first) * WIDE; e += THREADS) {
        let c = 4u * (e % WIDE);
        let t = tile.first + e / WIDE;
        let k_to = t * p.dk_stride + p.dk_first + head * p.width + c;
        let v_to = t * p.dv_stride + p.dv_first + head * p.width + c;
        let x = own_k[e / WIDE * PITCH + e % WIDE];
        let y = own_v[e / WIDE * PITCH + e % WIDE];
        if WHOLE || c + 1u < p.width {
            put2_dk(k_to, x.x, x.y);
            put2_dv(v_to, y.x, y.y);
        } else {
            put_dk(k_to, x.x);
            put_dv(v_to, y.x);
        }
        if WHOLE || c + 3u < p.width {
            put2_dk(k_to + 2u, x.z, x.w);
            put2_dv(v_to + 2u, y.z, y.w);
        } else if c + 2u < p.width {
            put_dk(k_to + 2u, x.z);
            put_dv(v_to + 2u, y.z);
        }
    }
}
