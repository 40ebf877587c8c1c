// Patches of videos, pictures and spectrograms as rows, and the gradient of a float input.
// Sizes: channels, frames, height, width of x; tubelet, patch_h, patch_w of a patch; grid_t, grid_h, grid_w tokens along each axis.

//: entry forward

// Where element c of token `token` is taken from.
fn place(token: u32, c: u32) -> u32 {
    let count = p.grid_t * p.grid_h * p.grid_w;
    let sample = token / count;
    let rest = token % count;
    let plane = p.tubelet * p.patch_h * p.patch_w;
    let channel = c / plane;
    let within = c % plane;
    let frame = rest / (p.grid_h * p.grid_w) * p.tubelet + within / (p.patch_h * p.patch_w);
    let line = (rest / p.grid_w) % p.grid_h * p.patch_h + (within / p.patch_w) % p.patch_h;
    let column = rest % p.grid_w * p.patch_w + within % p.patch_w;
    if PIXELS { return ((((sample * p.frames + frame) * p.height + line) * p.width + column) * p.channels + channel); }
    return (((sample * p.channels + channel) * p.frames + frame) * p.height + line) * p.width + column;
}

// The token of element i, counted from the `first`, that of the first sample bound; of picked ones, those before wrap around.
fn token_of(i: u32) -> u32 {
    let r = i / p.columns;
    if PICKED { return u32(rows(r)) - p.first; }
    return r;
}

// Whether its sample is bound; if not, it is left to its own kernel.
fn bound(i: u32) -> bool { return token_of(i) < p.tokens; }

fn value(i: u32) -> f32 {
    let c = i % p.columns;
    let v = f32(x(place(token_of(i), c)));
    if !PIXELS { return v; }
    let channel = c / (p.tubelet * p.patch_h * p.patch_w);
    return (v / 255.0 - scale(2u * channel)) / scale(2u * channel + 1u);
}

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = 2u * (group_index(id, groups) * 256u + thread);
    let first = i < p.count && bound(i);
    let second = i + 1u < p.count && bound(i + 1u);
    if first && second {
        put2_y(i, value(i), value(i + 1u));
    } else if first {
        put_y(i, value(i));
    } else if second {
        put_y(i + 1u, value(i + 1u));
    }
}

//: entry backward

// A thread an element of dx: the sum over the rows of its token, in their order. `lists` holds, for each token, where its rows
// begin, then the rows; tokens are counted from `first`, that of the first sample of dx; `rows` rows from `rows_first` on are bound.
fn gradient(i: u32) -> f32 {
    let column = i % p.width;
    let line = (i / p.width) % p.height;
    let frame = (i / (p.width * p.height)) % p.frames;
    let channel = (i / (p.width * p.height * p.frames)) % p.channels;
    let sample = i / (p.width * p.height * p.frames * p.channels);
    let w = column / p.patch_w;
    let h = line / p.patch_h;
    let t = frame / p.tubelet;
    // What does not fill a patch has been dropped.
    if w >= p.grid_w || h >= p.grid_h || t >= p.grid_t { return 0.0; }
    let token = ((sample * p.grid_t + t) * p.grid_h + h) * p.grid_w + w;
    let c = ((channel * p.tubelet + frame % p.tubelet) * p.patch_h + line % p.patch_h) * p.patch_w + column % p.patch_w;
    if !PICKED { return dy(token * p.columns + c); }
    var sum = 0.0;
    for (var at = lists(p.first + token); at < lists(p.first + token + 1u); at++) {
        // Those before the bound ones wrap around.
        let row = lists(p.tokens + 1u + at) - p.rows_first;
        if row < p.rows { sum += dy(row * p.columns + c); }
    }
    return sum;
}

@compute @workgroup_size(256)
fn backward(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = 2u * (group_index(id, groups) * 256u + thread);
    if i + 1u < p.count {
        put2_dx(i, gradient(i), gradient(i + 1u));
    } else if i < p.count {
        put_dx(i, gradient(i));
    }
}
