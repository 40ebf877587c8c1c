use proptest::prelude::*;

use super::*;
use crate::error::MediaError;

fn scale() -> impl Strategy<Value = [f64; 2]> {
    (0.05..1.0_f64, 0.0..1.0_f64).prop_map(|(low, up)| [low, low + (1.0 - low) * up])
}

fn config() -> impl Strategy<Value = MaskConfig> {
    let kind = prop_oneof![3 => Just(MaskKind::Multiblock3d), 1 => Just(MaskKind::RandomTube)];
    let cap = prop_oneof![Just(None), (1..40_usize).prop_map(Some)];
    let keep = prop_oneof![2 => Just(1.0), 1 => 0.05..1.0_f64];
    ((kind, 0.2..1.0_f64, 0.0..2.0_f64, 1..12_usize), scale(), scale(), keep, cap, 0.05..0.95_f64).prop_map(
        |((kind, aspect, up, num_blocks), spatial_scale, temporal_scale, max_temporal_keep, max_keep, ratio)| {
            let aspect_ratio = [aspect, aspect + up];
            let config = MaskConfig { kind, aspect_ratio, num_blocks, spatial_scale, ..MaskConfig::default() };
            MaskConfig { temporal_scale, max_temporal_keep, max_keep, ratio, ..config }
        },
    )
}

fn grid() -> impl Strategy<Value = MaskGrid> {
    let video = (1..6_usize, 1..8_usize, 1..8_usize).prop_map(|(t, h, w)| [t, h, w]);
    let audio = (1..9_usize, 1..14_usize).prop_map(|(rows, cols)| AudioGrid::new(rows, cols));
    (proptest::option::of(video), proptest::option::of(audio)).prop_map(|(video, audio)| MaskGrid { video, audio })
}

/// Ascending, disjoint, inside 0..tokens, neither empty.
fn check_lists(context: &[i32], target: &[i32], tokens: usize) {
    assert!(!context.is_empty() && !target.is_empty(), "{context:?} {target:?}");
    for list in [context, target] {
        assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(list[0] >= 0 && (*list.last().unwrap() as usize) < tokens);
    }
    assert!(context.iter().all(|i| target.binary_search(i).is_err()));
}

proptest! {
    #[test]
    fn unbiased_masks_are_sound(
        generator in config(), grid in grid(), index in 0..1000_u64, audio_cols in 1..16_usize, with_video in any::<bool>()
    ) {
        let Ok(masks) = UnbiasedMasks::new(vec![generator.clone(), generator.clone()], grid) else { return Ok(()) };
        let address = SampleAddress { seed: 1, pass: 0, index, clip: 0 };
        let presence = Presence {
            video: grid.video.is_some() && (with_video || grid.audio.is_none()),
            audio_cols: if grid.audio.is_some() { audio_cols } else { 0 },
        };
        let Ok(sample) = masks.sample(address, presence) else {
            // Only a track of one token and nothing else cannot be masked.
            let audio = grid.audio.unwrap();
            prop_assert!(!presence.video && audio.rows * audio_cols.min(audio.cols) < 2);
            return Ok(());
        };
        prop_assert_eq!(&masks.sample(address, presence).unwrap(), &sample);
        for mask in &sample {
            if presence.video {
                let [t, h, w] = grid.video.unwrap();
                check_lists(&mask.video_context, &mask.video_target, t * h * w);
                prop_assert!(mask.video_context.len() <= generator.max_keep.unwrap_or(usize::MAX));
                let limit = generator.context_steps(t) * h * w;
                prop_assert!(mask.video_context.iter().all(|&i| (i as usize) < limit));
                if generator.max_keep.is_none() {
                    prop_assert_eq!(mask.video_context.len() + mask.video_target.len(), t * h * w);
                }
            } else {
                prop_assert!(mask.video_context.is_empty() && mask.video_target.is_empty());
            }
            let audio = grid.audio.filter(|a| a.rows * presence.audio_cols.min(a.cols) > 1);
            if let Some(audio) = audio {
                check_lists(&mask.audio_context, &mask.audio_target, audio.rows * audio.cols);
                let cols = presence.audio_cols.min(audio.cols);
                let inside = |&i: &i32| i as usize % audio.cols < cols;
                prop_assert!(mask.audio_context.iter().chain(&mask.audio_target).all(inside));
                if generator.max_keep.is_none() {
                    prop_assert_eq!(mask.audio_context.len() + mask.audio_target.len(), audio.rows * cols);
                }
            } else {
                prop_assert!(mask.audio_context.is_empty() && mask.audio_target.is_empty());
            }
        }
    }

    #[test]
    fn reference_masks_are_sound(generator in config(), grid in grid(), seed in 0..1000_u64, batch in 1..5_usize) {
        let Ok(mut masks) = ReferenceMasks::new(vec![generator], grid, seed, seed) else { return Ok(()) };
        for _ in 0..3 {
            let batch = &masks.next_batch(batch)[0];
            let lengths = |m: &SampleMask| {
                [m.video_context.len(), m.video_target.len(), m.audio_context.len(), m.audio_target.len()]
            };
            for mask in batch {
                prop_assert_eq!(lengths(mask), lengths(&batch[0]));
                check_lists(&mask.video_context, &mask.video_target, grid.video.unwrap().iter().product());
                if let Some(audio) = grid.audio {
                    check_lists(&mask.audio_context, &mask.audio_target, audio.rows * audio.cols);
                }
            }
        }
    }
}

fn refusal(generator: MaskConfig, grid: MaskGrid) -> MediaError {
    UnbiasedMasks::new(vec![generator], grid).unwrap_err()
}

#[test]
fn impossible_masks_are_refused_by_name() {
    let video = MaskGrid { video: Some([8, 14, 14]), audio: None };
    let cases = [
        (MaskConfig { spatial_scale: [1.0, 1.0], ..MaskConfig::default() }, "spatial_scale"),
        (MaskConfig { spatial_scale: [0.0, 0.5], ..MaskConfig::default() }, "spatial_scale"),
        (MaskConfig { spatial_scale: [0.5, 0.2], ..MaskConfig::default() }, "spatial_scale"),
        (MaskConfig { temporal_scale: [0.5, 1.5], ..MaskConfig::default() }, "temporal_scale"),
        (MaskConfig { aspect_ratio: [0.0, 1.5], ..MaskConfig::default() }, "aspect_ratio"),
        (MaskConfig { aspect_ratio: [1.0, f64::NAN], ..MaskConfig::default() }, "aspect_ratio"),
        (MaskConfig { num_blocks: 0, ..MaskConfig::default() }, "num_blocks"),
        (MaskConfig { max_keep: Some(0), ..MaskConfig::default() }, "max_keep"),
        (MaskConfig { max_temporal_keep: 0.0, ..MaskConfig::default() }, "max_temporal_keep"),
        (MaskConfig { kind: MaskKind::RandomTube, ratio: 1.0, ..MaskConfig::default() }, "ratio"),
        (MaskConfig { kind: MaskKind::RandomTube, ratio: 0.999, ..MaskConfig::default() }, "ratio"),
    ];
    for (generator, setting) in cases {
        let error = refusal(generator, video);
        assert_eq!(error.code, "AVJ_MASK");
        assert!(error.message.contains(setting) && error.hint.is_some(), "{setting}: {error}");
    }
    // A whole-frame block is fine when it lasts only half the clip.
    let half = MaskConfig { spatial_scale: [1.0, 1.0], aspect_ratio: [1.0; 2], ..MaskConfig::default() };
    assert!(UnbiasedMasks::new(vec![MaskConfig { temporal_scale: [0.5, 0.5], ..half }], video).is_ok());
    let one_audio_token = MaskGrid { video: None, audio: Some(AudioGrid::new(1, 1)) };
    assert_eq!(refusal(MaskConfig::default(), one_audio_token).code, "AVJ_MASK");
    let whole = AudioGrid { rows: 8, cols: 12, block_rows: 8, block_cols: 12 };
    let whole = MaskGrid { video: None, audio: Some(whole) };
    assert!(refusal(MaskConfig::default(), whole).message.contains("audio block"));
    assert_eq!(refusal(MaskConfig::default(), MaskGrid::default()).code, "AVJ_MASK");
}

#[test]
fn crowded_reference_masks_end() {
    // 200 blocks of most of the frame: practically every draw hides everything, and the reference would never return.
    let crowded =
        MaskConfig { num_blocks: 200, spatial_scale: [0.6, 0.6], aspect_ratio: [1.0; 2], ..MaskConfig::default() };
    let grid = MaskGrid { video: Some([1, 4, 4]), audio: Some(AudioGrid::new(8, 12)) };
    let batch = ReferenceMasks::new(vec![crowded], grid, 0, 0).unwrap().next_batch(2);
    check_lists(&batch[0][0].video_context, &batch[0][0].video_target, 16);
    check_lists(&batch[0][1].audio_context, &batch[0][1].audio_target, 96);
}

/// The published generator with sound knows no limit on the context; the one without does.
#[test]
fn a_reference_limit_is_for_pictures_alone() {
    let limited = || vec![MaskConfig { max_keep: Some(5), ..MaskConfig::default() }];
    let context = |audio, generators| {
        let grid = MaskGrid { video: Some([8, 14, 14]), audio };
        ReferenceMasks::new(generators, grid, 7, 3).unwrap().next_batch(2)[0][0].video_context.clone()
    };
    assert_eq!(context(None, limited()).len(), 5);
    let sound = Some(AudioGrid::new(8, 12));
    assert_eq!(context(sound, limited()), context(sound, vec![MaskConfig::default()]));
}

#[test]
fn clips_and_generators_differ_but_shipped_shares_are_kept() {
    let grid = MaskGrid { video: Some([8, 14, 14]), audio: Some(AudioGrid::new(8, 12)) };
    let long = MaskConfig { num_blocks: 2, spatial_scale: [0.7, 0.7], ..MaskConfig::default() };
    let masks = UnbiasedMasks::new(vec![MaskConfig::default(), long], grid).unwrap();
    let presence = Presence { video: true, audio_cols: 12 };
    let at = |index, clip| masks.sample(SampleAddress { seed: 3, pass: 0, index, clip }, presence).unwrap();
    assert_ne!(at(0, 0), at(0, 1));
    assert_ne!(at(0, 0)[0].audio_context, at(0, 0)[1].audio_context);
    let mean = |generator: usize| (0..400).map(|i| at(i, 0)[generator].video_context.len() as f64).sum::<f64>() / 400.0;
    // Means of the reference before truncation: 584 and 290 of 1568.
    assert!((mean(0) - 584.0).abs() < 25.0, "{}", mean(0));
    assert!((mean(1) - 290.0).abs() < 20.0, "{}", mean(1));
}
