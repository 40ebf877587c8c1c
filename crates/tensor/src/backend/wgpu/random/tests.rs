//! Double precision of `kernels/float64.wgsl` beside Rust's own, and `kernels/philox.wgsl` beside its known answers.
//!
//! They need an adapter, and are ignored unless asked for: `AVJEPA_TEST_DEVICES=wgpu bun run test`.

use crate::{
    backend::wgpu::{
        Faults, Wgpu,
        call::{Call, Family},
        lock,
        source::Access,
        stream::Download,
    },
    dtype::DType,
    op::testing::adapter,
    philox,
};

const TEST: Family = Family {
    name: "random_test",
    source: concat!(
        include_str!("../kernels/float64.wgsl"),
        include_str!("../kernels/philox.wgsl"),
        include_str!("../kernels/random_test.wgsl")
    ),
};

fn open() -> Wgpu {
    Wgpu::open(&adapter().unwrap_or_else(|| "wgpu:0".into()), Faults::default()).expect("an adapter")
}

/// `entry` on `count` elements of words of 64 bits; as many words as `a` has.
fn run(on: &Wgpu, entry: &'static str, operation: usize, a: &[u64], b: &[u64], count: usize) -> Vec<u64> {
    let bytes = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let block = |words: &[u64]| {
        let block = on.memory.alloc(8 * words.len() as u64).unwrap();
        lock(&on.stream).upload(&block, 0, &bytes(words)).unwrap();
        block
    };
    let [a, b, y] = [a, b, &vec![0; a.len()]].map(block);
    let call = Call::new(on, TEST, entry).block("a", &a, DType::I64, Access::ReadBits).unwrap();
    let call = call.block("b", &b, DType::I64, Access::ReadBits).unwrap();
    let call = call.block("y", &y, DType::I64, Access::WriteBits).unwrap();
    call.constant("OPERATION", format!("{operation}u")).word("count", count).run(count.div_ceil(64)).unwrap();
    let mut got = vec![0; y.len as usize];
    lock(&on.stream).download(vec![Download { block: &y, at: 0, bytes: &mut got }]).unwrap();
    got.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Every special number with every other, then numbers of any size, of about one size, and of few digits, where ties are.
fn pairs() -> (Vec<u64>, Vec<u64>) {
    let positive = [
        0.0,
        f64::from_bits(1),
        f64::from_bits(2),
        f64::from_bits(0xf_ffff_ffff_ffff),
        f64::MIN_POSITIVE,
        f64::from_bits(0x10_0000_0000_0001),
        // About the least and the largest float32, and halfway between float32s.
        2f64.powi(-151),
        2f64.powi(-150),
        2f64.powi(-150) * 1.5,
        2f64.powi(-149),
        f64::from(f32::MIN_POSITIVE),
        f64::from(f32::MIN_POSITIVE).next_down(),
        f64::from(f32::MAX),
        f64::from(f32::MAX) * (1.0 + 2f64.powi(-25)),
        1.0 + 2f64.powi(-24),
        1.0 + 3.0 * 2f64.powi(-24),
        1.0 + 2f64.powi(-24) + f64::EPSILON,
        0.5,
        1f64.next_down(),
        1.0,
        1.0 + f64::EPSILON,
        3.0,
        4_294_967_295.0,
        2f64.powi(53),
        2f64.powi(53) + 2.0,
        2f64.powi(-53),
        2f64.powi(-54),
        2f64.powi(-53) + 2f64.powi(-105),
        2f64.powi(511),
        2f64.powi(512),
        2f64.powi(-537),
        1e-300,
        f64::MAX / 2.0,
        f64::MAX,
        f64::INFINITY,
        f64::NAN,
    ];
    let special: Vec<u64> = positive.iter().flat_map(|v| [v.to_bits(), (-v).to_bits()]).collect();
    let (mut a, mut b): (Vec<u64>, Vec<u64>) =
        special.iter().flat_map(|a| special.iter().map(move |b| (*a, *b))).unzip();
    for i in 0..20_000 {
        let words = philox::block([i, 0, 0, 0], [1, 2]).map(u64::from);
        let [x, y] = [words[0] << 32 | words[1], words[2] << 32 | words[3]];
        let near = x & !(0x7ff << 52) | (1023 + (x >> 52) % 8) << 52;
        let short = |v: u64| v & (!0 << (24 + v % 29));
        let (x, y) = match i % 6 {
            0 => (x, y),
            1 => (near, near ^ (y & (!0 >> (12 + y % 53)))),
            2 => (near, near & !(1 << 63) ^ (y & 3)),
            3 => (short(x), short(y)),
            // Sums, products and quotients about the least numbers.
            4 => (short(near), short(y & !(0x7ff << 52)) | ((y >> 52) % 60) << 52),
            _ => (x & !(0x7ff << 52) | (500 + (x >> 52) % 60) << 52, y & !(0x7ff << 52) | (470 + (y >> 52) % 60) << 52),
        };
        a.push(x);
        b.push(y);
    }
    (a, b)
}

#[test]
#[ignore = "needs a graphics adapter"]
fn double_precision_is_rusts() {
    type Operation = fn(f64, f64) -> u64;
    let operations: [(&str, Operation); 11] = [
        ("add", |a, b| (a + b).to_bits()),
        ("subtract", |a, b| (a - b).to_bits()),
        ("multiply", |a, b| (a * b).to_bits()),
        ("divide", |a, b| (a / b).to_bits()),
        ("root", |a, _| a.sqrt().to_bits()),
        ("less", |a, b| u64::from(a < b)),
        ("next down", |a, _| a.next_down().to_bits()),
        ("to float32", |a, _| u64::from((a as f32).to_bits())),
        ("from float32", |a, _| f64::from(f32::from_bits(a.to_bits() as u32)).to_bits()),
        ("of 64 bits", |a, _| (a.to_bits() as f64).to_bits()),
        ("of 32 bits", |a, _| f64::from(a.to_bits() as i32).to_bits()),
    ];
    let (on, (a, b)) = (open(), pairs());
    for (i, (name, expected)) in operations.into_iter().enumerate() {
        let got = run(&on, "operation", i, &a, &b, a.len());
        for ((&a, &b), got) in a.iter().zip(&b).zip(got) {
            let (x, y) = (f64::from_bits(a), f64::from_bits(b));
            if name == "next down" && (x.is_nan() || x == f64::NEG_INFINITY) {
                continue;
            }
            // Which NaN it is differs from processor to processor.
            let expected = match expected(x, y) {
                bits if name == "to float32" && f32::from_bits(bits as u32).is_nan() => 0x7fc0_0000,
                bits if name != "to float32" && f64::from_bits(bits).is_nan() => 0x7ff8 << 48,
                bits => bits,
            };
            assert_eq!(got, expected, "{name} {x:e} ({a:#x}) {y:e} ({b:#x}): {got:#x}, not {expected:#x}");
        }
    }
}

/// The known answers of Random123 1.14 (`tests/kat_vectors`, philox4x32 10).
#[test]
#[ignore = "needs a graphics adapter"]
fn known_answers() {
    let cases = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    let words = |w: &[u32]| w.chunks(2).map(|w| u64::from(w[1]) << 32 | u64::from(w[0])).collect::<Vec<u64>>();
    let counters: Vec<u64> = cases.iter().flat_map(|case| words(&case.0)).collect();
    let seeds: Vec<u64> = cases.iter().flat_map(|case| words(&case.1)).collect();
    let answers: Vec<u64> = cases.iter().flat_map(|case| words(&case.2)).collect();
    assert_eq!(run(&open(), "block", 0, &counters, &seeds, cases.len()), answers);
}
