//! Any channels to one.

/// Weight of each speaker in a mono mix, by FFmpeg's `AV_CH_…` bit: ITU-R BS.775-3 annex 4 (L and R at −3 dB, C at 0 dB,
/// surrounds at −6 dB), no low-frequency effects: what `ffmpeg -ac 1` does.
const WEIGHTS: [(u32, f64); 10] = [
    (0, std::f64::consts::FRAC_1_SQRT_2), // front left
    (1, std::f64::consts::FRAC_1_SQRT_2), // front right
    (2, 1.0),                             // front centre
    (3, 0.0),                             // low frequency
    (4, 0.5),                             // back left
    (5, 0.5),                             // back right
    (6, std::f64::consts::FRAC_1_SQRT_2), // front left of centre
    (7, std::f64::consts::FRAC_1_SQRT_2), // front right of centre
    (8, 0.5),                             // back centre
    (9, 0.5),                             // side left; side right is bit 10
];

/// Weights of `channels` interleaved channels that lie at the speakers of `mask` (0: not known), summing to 1.
///
/// Stereo is the mean of both; so are channels whose places are not known, or that have no speaker above.
pub(super) fn weights(channels: usize, mask: u64) -> Vec<f32> {
    let weight = |bit: u32| match bit {
        10 => 0.5,
        35 => 0.0, // second low frequency
        _ => WEIGHTS.iter().find(|(b, _)| *b == bit).map_or(0.5, |(_, weight)| *weight),
    };
    let placed: Vec<f64> = (0..64).filter(|bit| mask >> bit & 1 == 1).map(weight).collect();
    let sum: f64 = placed.iter().sum();
    if placed.len() != channels || sum == 0.0 {
        return vec![1.0 / channels as f32; channels];
    }
    placed.iter().map(|weight| (weight / sum) as f32).collect()
}

/// Weighted sum over the channels of each interleaved sample, replacing `mono`.
pub(super) fn mix(interleaved: &[f32], weights: &[f32], mono: &mut Vec<f32>) {
    mono.clear();
    match weights {
        [_] => mono.extend_from_slice(interleaved),
        _ => {
            let sum = |sample: &[f32]| sample.iter().zip(weights).map(|(x, weight)| x * weight).sum::<f32>();
            mono.extend(interleaved.chunks_exact(weights.len()).map(sum));
        }
    }
    // A damaged packet may decode to anything.
    mono.iter_mut().filter(|x| !x.is_finite()).for_each(|x| *x = 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_layouts() {
        assert_eq!(weights(1, 0x4), [1.0]);
        assert_eq!(weights(1, 0x1), [1.0]);
        assert_eq!(weights(2, 0x3), [0.5, 0.5]);
        assert_eq!(weights(2, 0), [0.5, 0.5]);
        let surround = weights(6, 0x3f);
        assert_eq!(surround, weights(6, 0x60f), "surrounds at the back or at the sides");
        let [l, r, c, lfe, ls, rs] = surround[..] else { panic!("six") };
        assert!(
            l == r
                && ls == rs
                && lfe == 0.0
                && (l / c).powi(2) - 0.5 < 1e-6
                && 0.5 - (l / c).powi(2) < 1e-6
                && (c / ls - 2.0).abs() < 1e-6
        );
        assert!((surround.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_has_no_place_is_averaged() {
        assert_eq!(weights(3, 0x3), [1.0 / 3.0; 3]);
        assert_eq!(weights(1, 0x8), [1.0]);
    }

    #[test]
    fn mixes() {
        let mut mono = vec![9.0];
        mix(&[1.0, 0.0, 0.5, 0.25, f32::NAN, 0.0], &[0.5, 0.5], &mut mono);
        assert_eq!(mono, [0.5, 0.375, 0.0]);
    }
}
