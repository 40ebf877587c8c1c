// Functions of f32 that are as good as the CPU's: drivers' own may be off by 2⁻¹¹ (sin, cos) or grow with the argument (exp, pow).

// Not constants: compilers refuse constants that are not finite.
var<private> infinity_bits: u32 = 0x7f800000u;
var<private> nan_bits: u32 = 0x7fc00000u;

fn infinity() -> f32 { return bitcast<f32>(infinity_bits); }
fn not_a_number() -> f32 { return bitcast<f32>(nan_bits); }
// By their bits: compilers may take it that neither occurs.
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

// The number of this workgroup, wherever it stands in the grid.
fn group_index(id: vec3<u32>, groups: vec3<u32>) -> u32 { return id.y * groups.x + id.x; }

// The half of a word that element j is, widened.
fn bf16_half(word: u32, j: u32) -> f32 {
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (j & 1u) == 1u));
}

// To nearest, ties to even; NaN stays NaN.
fn to_bf16(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return select((bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u, (bits >> 16u) | 0x40u, is_nan(x));
}

fn round_bf16(x: f32) -> f32 { return bitcast<f32>(to_bf16(x) << 16u); }

fn power_of_two(n: i32) -> f32 { return bitcast<f32>(u32(n + 127) << 23u); }

// e^x; results below the normal range may be zero.
fn exponential(x: f32) -> f32 {
    if is_nan(x) { return x; }
    let c = clamp(x, -104.0, 89.5);
    let n = round(c * 1.4426950408889634);
    let r = ((c - n * 0.693145751953125) - n * 1.428606820309417e-6) * 1.4426950408889634;
    var sum = 0.00015345788;
    sum = sum * r + 0.0013399932;
    sum = sum * r + 0.009618489;
    sum = sum * r + 0.05550329;
    sum = sum * r + 0.24022647;
    sum = sum * r + 0.6931472;
    sum = sum * r + 1.0;
    // In two steps: 2^128 and 2^-150 are out of range by themselves.
    let half = i32(n) >> 1u;
    let y = sum * power_of_two(half) * power_of_two(i32(n) - half);
    return select(y, infinity(), x > 88.722839);
}

fn exponential4(x: vec4<f32>) -> vec4<f32> {
    return vec4(exponential(x.x), exponential(x.y), exponential(x.z), exponential(x.w));
}

// By atanh of the mantissa's distance from 1.
fn logarithm(x: f32) -> f32 {
    if is_nan(x) || x < 0.0 { return not_a_number(); }
    if x == 0.0 { return -infinity(); }
    if !is_finite(x) { return x; }
    let small = x < 1.1754944e-38;
    let bits = bitcast<u32>(select(x, x * 8388608.0, small));
    // Mantissas from √½ to √2.
    let shifted = bits - 0x3f3504f3u;
    let e = f32((i32(shifted) >> 23u) - select(0, 23, small));
    let m = bitcast<f32>((shifted & 0x007fffffu) + 0x3f3504f3u);
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let tail = z * (0.6666666667 + z * (0.4 + z * (0.2857142857 + z * (0.2222222222 + z * 0.1818181818))));
    let half = 0.5 * f * f;
    // log(1+f) = f − f²/2 + s·(f²/2 + tail).
    let low = s * (half + tail) + e * 1.428606820309417e-6;
    return e * 0.693145751953125 + (f - (half - low));
}

// log(1 + x) for 0 ≤ x ≤ 1.
fn logarithm_1p(x: f32) -> f32 {
    let u = 1.0 + x;
    return select(logarithm(u) * (x / (u - 1.0)), x, u == 1.0);
}

// Sine and cosine: |x| reduced by π/2 in four parts, then the polynomials of Cephes' sinf and cosf.
fn sin_cos(x: f32) -> vec2<f32> {
    let n = round(clamp(x, -1e8, 1e8) * 0.6366197723675814);
    let q = u32(i32(n));
    var r = ((x - n * 1.5703125) - n * 0.0004837512969970703) - n * 7.549506768941879e-8;
    r = r - n * 2.8319701656156e-12;
    r = clamp(r, -0.8, 0.8);
    let s = r * r;
    let sine = ((-1.9515295891e-4 * s + 8.3321608736e-3) * s - 1.6666654611e-1) * s * r + r;
    let cosine = ((2.443315711809948e-5 * s - 1.388731625493765e-3) * s + 4.166664568298827e-2) * s * s - 0.5 * s + 1.0;
    let swap = (q & 1u) == 1u;
    let a = select(sine, cosine, swap);
    let b = select(cosine, sine, swap);
    let y = vec2(select(a, -a, (q & 2u) != 0u), select(b, -b, ((q + 1u) & 2u) != 0u));
    return select(vec2(not_a_number()), y, is_finite(x));
}

// Φ(x) and exp(−x²/2).
fn normal(x: f32) -> vec2<f32> {
    let y = abs(x);
    let bell = exponential(-0.5 * y * y);
    let r = 1.0 / (y + 3.0);
    let u = 1.0 - 6.0 * r;
    var sum = -0.00026676766;
    sum = sum * u - 0.0009032525;
    sum = sum * u + 0.0010760398;
    sum = sum * u + 0.006923923;
    sum = sum * u - 0.010479937;
    sum = sum * u - 0.0472561;
    sum = sum * u + 0.23001935;
    sum = sum * u - 0.5093323;
    sum = sum * u + 0.7290837;
    let tail = sum * r * bell;
    return vec2(select(1.0 - tail, tail, x < 0.0), bell);
}

fn gelu(x: f32) -> f32 { return x * normal(x).x; }

fn gelu_slope(x: f32) -> f32 {
    let n = normal(x);
    return x * n.y * 0.3989422804014327 + n.x;
}

fn error_function(x: f32) -> f32 {
    let z = x * x;
    var sum = 0.00007853844;
    sum = sum * z - 0.0008010189;
    sum = sum * z + 0.0051883273;
    sum = sum * z - 0.026853812;
    sum = sum * z + 0.11283585;
    sum = sum * z - 0.37612626;
    sum = sum * z + 1.1283792;
    let large = 2.0 * normal(abs(x) * 1.4142135623730951).x - 1.0;
    return select(select(large, -large, x < 0.0), x * sum, abs(x) < 1.0);
}

fn sigmoid(x: f32) -> f32 {
    let e = exponential(-abs(x));
    let upper = 1.0 / (1.0 + e);
    return select(upper, e * upper, x < 0.0);
}

fn hyperbolic_tangent(x: f32) -> f32 {
    let a = abs(x);
    let z = x * x;
    let e = exponential(-2.0 * a);
    let large = (1.0 - e) / (1.0 + e);
    var sum = -0.008863235529902197;
    sum = sum * z + 0.021869488536155203;
    sum = sum * z - 0.05396825396825397;
    sum = sum * z + 0.13333333333333333;
    sum = sum * z - 0.3333333333333333;
    return select(select(large, -large, x < 0.0), x + x * z * sum, a < 0.35);
}

// x^y as C has it.
fn power(x: f32, y: f32) -> f32 {
    if y == 0.0 || x == 1.0 { return 1.0; }
    if is_nan(x) || is_nan(y) { return not_a_number(); }
    let a = abs(x);
    let whole = floor(y) == y;
    let odd = whole && abs(y) < 16777216.0 && (i32(y) & 1) == 1;
    var r: f32;
    if a == 0.0 {
        r = select(infinity(), 0.0, y > 0.0);
    } else if whole && abs(y) <= 64.0 {
        // Small whole powers by multiplication.
        var n = u32(abs(y));
        var square = a;
        r = 1.0;
        while n > 0u {
            if (n & 1u) == 1u { r *= square; }
            square *= square;
            n = n >> 1u;
        }
        if y < 0.0 { r = 1.0 / r; }
    } else {
        r = exponential(y * logarithm(a));
    }
    if x < 0.0 && !whole { return not_a_number(); }
    return select(r, -r, x < 0.0 && odd);
}

// The larger (smaller), or NaN when either is.
fn greater(a: f32, b: f32) -> f32 { return select(b, a, a > b || is_nan(a)); }
fn greater4(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return vec4(greater(a.x, b.x), greater(a.y, b.y), greater(a.z, b.z), greater(a.w, b.w));
}
fn smaller(a: f32, b: f32) -> f32 { return select(b, a, a < b || is_nan(a)); }

// −1, 0 or 1; NaN stays NaN.
fn sign_of(x: f32) -> f32 { return select(select(x, -1.0, x < 0.0), 1.0, x > 0.0); }
