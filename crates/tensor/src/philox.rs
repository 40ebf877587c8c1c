//! Random numbers by position: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//!
//! Element i of a stream is made from word `i mod 4` of the block at counter `counter + i/4` under the key `seed`, so a stream can be
//! cut anywhere and drawn in any order. All of it is plain arithmetic in f64, so that every device gets
//! the same bytes.

use crate::{
    backend::Distribution,
    dtype::{bf16_to_f32, f32_to_bf16},
};
use std::f64::consts::SQRT_2;

/// Ten rounds of Philox on four words.
pub fn block(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xd251_1f53;
        let b = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// A distribution drawn from one seed and counter.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    distribution: Distribution,
    seed: u64,
    counter: u64,
    tail: (f64, f64, bool),
}

impl Stream {
    pub fn new(distribution: Distribution, seed: u64, counter: u64) -> Stream {
        let tail = match distribution {
            Distribution::TruncatedNormal { mean, std, low, high } => {
                let (low, high) = ((low - mean) / std, (high - mean) / std);
                // Φ is exact near 0, not near 1.
                match low > 0.0 {
                    true => (normal_cdf(-high), normal_cdf(-low), true),
                    false => (normal_cdf(low), normal_cdf(high), false),
                }
            }
            _ => (0.0, 1.0, false),
        };
        Stream { distribution, seed, counter, tail }
    }

    /// For truncated normals: Φ at the bounds, and whether they were mirrored to lie in the lower tail; else 0, 1 and false.
    pub fn tail(&self) -> (f64, f64, bool) {
        self.tail
    }

    /// How likely the whole normal is to lie between a truncated one's bounds; 1 for the others.
    pub fn probability(&self) -> f64 {
        self.tail.1 - self.tail.0
    }

    /// The 32 random bits of element i.
    #[inline]
    pub fn bits(&self, i: u64) -> u32 {
        let counter = self.counter.wrapping_add(i / 4);
        let words = block([counter as u32, (counter >> 32) as u32, 0, 0], [self.seed as u32, (self.seed >> 32) as u32]);
        words[(i % 4) as usize]
    }

    /// Element i. A uniform is `low + (high − low)·bits/2³²`; a normal is the inverse of the distribution function at
    /// `(bits + ½)/2³²`, which is never 0 or 1.
    pub fn f64(&self, i: u64) -> f64 {
        let bits = f64::from(self.bits(i));
        match self.distribution {
            Distribution::Uniform { low, high } => below(low + (high - low) * (bits / 4_294_967_296.0), low, high),
            Distribution::Normal { mean, std } => mean + std * inverse_normal_cdf((bits + 0.5) / 4_294_967_296.0),
            Distribution::TruncatedNormal { mean, std, low, high } => {
                let (from, to, mirrored) = self.tail;
                let z = inverse_normal_cdf(from + (to - from) * ((bits + 0.5) / 4_294_967_296.0));
                (mean + std * if mirrored { -z } else { z }).clamp(low, high)
            }
        }
    }

    /// Element i, rounded, and for uniforms still below `high`.
    pub fn f32(&self, i: u64) -> f32 {
        let x = self.f64(i) as f32;
        match self.distribution {
            Distribution::Uniform { low, high } if f64::from(x) >= high && low < high => x.next_down(),
            _ => x,
        }
    }

    /// Element i as the bits of a bfloat16, likewise.
    pub fn bf16(&self, i: u64) -> u16 {
        let x = f32_to_bf16(self.f64(i) as f32);
        match self.distribution {
            Distribution::Uniform { low, high } if f64::from(bf16_to_f32(x)) >= high && low < high => {
                // One step towards −∞.
                match bf16_to_f32(x) {
                    v if v > 0.0 => x - 1,
                    v if v < 0.0 => x + 1,
                    _ => 0x8001,
                }
            }
            _ => x,
        }
    }
}

/// `x`, which rounding may have carried up to `high`.
fn below(x: f64, low: f64, high: f64) -> f64 {
    if x >= high && low < high { high.next_down() } else { x }
}

/// Φ.
fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// Coefficients of Φ⁻¹, numerator and denominator from the constant on, for the middle, for the tails and for what lies far out in
/// them: algorithm AS 241 (Wichura, Applied Statistics 37, 1988), PPND16.
#[allow(clippy::excessive_precision)]
pub const INVERSE_NORMAL_CDF: [[[f64; 8]; 2]; 3] = [
    [
        [
            3.387_132_872_796_366_608,
            133.141_667_891_784_377_45,
            1_971.590_950_306_551_442_7,
            13_731.693_765_509_461_125,
            45_921.953_931_549_871_457,
            67_265.770_927_008_700_853,
            33_430.575_583_588_128_105,
            2_509.080_928_730_122_672_7,
        ],
        [
            1.0,
            42.313_330_701_600_911_252,
            687.187_007_492_057_908_3,
            5_394.196_021_424_751_107_7,
            21_213.794_301_586_595_867,
            39_307.895_800_092_710_61,
            28_729.085_735_721_942_674,
            5_226.495_278_852_854_561,
        ],
    ],
    [
        [
            1.423_437_110_749_683_577_34,
            4.630_337_846_156_545_295_9,
            5.769_497_221_460_691_405_5,
            3.647_848_324_763_204_605_04,
            1.270_458_252_452_368_382_58,
            0.241_780_725_177_450_611_77,
            0.022_723_844_989_269_184_583_3,
            7.745_450_142_783_414_076_4e-4,
        ],
        [
            1.0,
            2.053_191_626_637_758_821_87,
            1.676_384_830_183_803_849_4,
            0.689_767_334_985_100_004_55,
            0.148_103_976_427_480_074_59,
            0.015_198_666_563_616_457_196_6,
            5.475_938_084_995_344_946e-4,
            1.050_750_071_644_416_843_24e-9,
        ],
    ],
    [
        [
            6.657_904_643_501_103_777_2,
            5.463_784_911_164_114_369_9,
            1.784_826_539_917_291_335_8,
            0.296_560_571_828_504_891_23,
            0.026_532_189_526_576_123_093,
            0.001_242_660_947_388_078_438_6,
            2.711_555_568_743_487_578_15e-5,
            2.010_334_399_292_288_132_65e-7,
        ],
        [
            1.0,
            0.599_832_206_555_887_937_69,
            0.136_929_880_922_735_805_31,
            0.014_875_361_290_850_615_025,
            7.868_691_311_456_132_591e-4,
            1.846_318_317_510_054_681_8e-5,
            1.421_511_758_316_445_888_7e-7,
            2.044_263_103_389_939_785_64e-15,
        ],
    ],
];

/// Φ⁻¹ to 16 digits, finite for `0 < p < 1`, ±∞ at the ends. The logarithm is libm's on every platform, so that the bits are too.
fn inverse_normal_cdf(p: f64) -> f64 {
    let polynomial = |c: &[f64; 8], x: f64| c.iter().rev().fold(0.0, |sum, c| sum * x + c);
    let [middle, tails, far] = &INVERSE_NORMAL_CDF;
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * polynomial(&middle[0], r) / polynomial(&middle[1], r);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail <= 0.0 {
        // Beyond the 38 standard deviations that f64 can tell from none; truncation has bounds for it.
        return q.signum() * f64::INFINITY;
    }
    let r = (-libm::log(tail)).sqrt();
    let (table, x) = if r <= 5.0 { (tails, r - 1.6) } else { (far, r - 5.0) };
    let z = polynomial(&table[0], x) / polynomial(&table[1], x);
    if q < 0.0 { -z } else { z }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123 1.14 (`tests/kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(block([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(block([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            block([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_can_be_cut() {
        let d = Distribution::Uniform { low: 0.0, high: 1.0 };
        let (whole, cut) = (Stream::new(d, 7, 100), Stream::new(d, 7, 105));
        assert!((0..40).all(|i| whole.bits(20 + i) == cut.bits(i)));
        assert_ne!(Stream::new(d, 8, 100).bits(0), whole.bits(0));
        assert_ne!(Stream::new(d, 7 << 32, 100).bits(0), Stream::new(d, 7, 100).bits(0));
        // The counter has 64 bits and wraps around.
        assert_eq!(Stream::new(d, 7, u64::MAX).bits(4), Stream::new(d, 7, 0).bits(0));
    }

    #[test]
    fn the_inverse_is_one() {
        for i in 1..2000 {
            let p = f64::from(i) / 2000.0;
            assert!((normal_cdf(inverse_normal_cdf(p)) - p).abs() < 1e-15, "{p}");
        }
        for e in 4..300 {
            let p = 10f64.powi(-e);
            let back = normal_cdf(inverse_normal_cdf(p));
            assert!((back / p - 1.0).abs() < 1e-11, "{p} {back}");
        }
    }

    fn moments(d: Distribution, n: u64) -> (f64, f64, f64, f64) {
        let s = Stream::new(d, 3, 0);
        let x: Vec<f64> = (0..n).map(|i| s.f64(i)).collect();
        let mean = x.iter().sum::<f64>() / n as f64;
        let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        (
            mean,
            std,
            x.iter().copied().fold(f64::INFINITY, f64::min),
            x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        )
    }

    #[test]
    fn moments_are_right() {
        let (mean, std, min, max) = moments(Distribution::Uniform { low: -1.0, high: 3.0 }, 200_000);
        assert!((mean - 1.0).abs() < 0.01 && (std - 4.0 / 12f64.sqrt()).abs() < 0.01 && min >= -1.0 && max < 3.0);
        let (mean, std, min, max) = moments(Distribution::Normal { mean: 0.5, std: 2.0 }, 200_000);
        assert!((mean - 0.5).abs() < 0.02 && (std - 2.0).abs() < 0.02 && min < -6.0 && max > 7.0);
        let cut = Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: -1.0, high: 2.0 };
        let (mean, std, min, max) = moments(cut, 200_000);
        assert!(
            (mean - 0.2296).abs() < 0.01 && (std - 0.7209).abs() < 0.01 && min >= -1.0 && max <= 2.0,
            "{mean} {std}"
        );
    }

    #[test]
    fn no_tail_is_absurd() {
        struct Case(f64, f64, f64, f64);
        for Case(mean, std, low, high) in [
            Case(0.0, 0.02, -2.0, 2.0),
            Case(0.0, 1.0, 20.0, 21.0),
            Case(0.0, 1.0, -60.0, -50.0),
            Case(0.0, 1.0, 5.0, 6.0),
        ] {
            let s = Stream::new(Distribution::TruncatedNormal { mean, std, low, high }, 1, 0);
            for i in 0..20_000 {
                let x = s.f64(i);
                assert!(x >= low && x <= high && x.is_finite());
                assert!(low != -2.0 || x.abs() < 7.0 * std);
            }
        }
        // The farthest a normal can go.
        let farthest = inverse_normal_cdf(0.5 / 4_294_967_296.0);
        assert!(farthest > -6.5 && farthest < -6.0);
    }

    #[test]
    fn uniforms_stay_below_their_limit() {
        let s = Stream::new(Distribution::Uniform { low: 0.0, high: 1.0 }, 11, 0);
        let mut near = 0;
        for i in 0..300_000 {
            assert!(s.f32(i) < 1.0 && bf16_to_f32(s.bf16(i)) < 1.0);
            near += u32::from(s.f64(i) > 0.999);
        }
        assert!(near > 0);
        let s = Stream::new(Distribution::Uniform { low: 5.0, high: 5.0 }, 11, 0);
        assert_eq!(s.f32(0), 5.0);
    }
}
