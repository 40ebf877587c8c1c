//! Kind `masks`: exact index lists.

use avjepa_media::mask::{AudioGrid, MaskConfig, MaskGrid, MaskKind, ReferenceMasks, SampleMask};
use serde_json::Value;

use crate::fixture::{Case, Data, f64_pair, for_each_case, usize_of};

#[test]
fn lists_equal_the_reference() {
    for_each_case("masks", |case| {
        let hyper = case.hyper();
        let number = |key: &str| usize_of(&hyper[key]);
        let side = number("crop_size") / number("patch_size");
        let audio = (hyper["form"] == "avmultiblock3d").then(|| {
            let pair = |key: &str| [usize_of(&hyper[key][0]), usize_of(&hyper[key][1])];
            let ([rows, cols], [block_rows, block_cols]) = (pair("audio_grid"), pair("audio_block"));
            AudioGrid { rows, cols, block_rows, block_cols }
        });
        let grid = MaskGrid { video: Some([number("num_frames") / number("tubelet_size"), side, side]), audio };
        let (generators, seed, counter) = if hyper["form"] == "random_tube" {
            let ratio = hyper["ratio"].as_f64().unwrap();
            let tube = MaskConfig { kind: MaskKind::RandomTube, ratio, ..MaskConfig::default() };
            (vec![tube], number("numpy_seed"), 0)
        } else {
            let generators = hyper["generators"].as_array().unwrap().iter().map(generator).collect();
            (generators, number("torch_seed"), number("first_counter"))
        };
        let mut masks = ReferenceMasks::new(generators, grid, seed as u64, counter as u64).unwrap();
        let mut checked = 0;
        for step in 0..number("steps") {
            for (g, batch) in masks.next_batch(number("batch")).iter().enumerate() {
                if audio.is_some() {
                    check(case, &format!("enc_v.{step}.{g}"), batch, |m| &m.video_context);
                    check(case, &format!("pred_v.{step}.{g}"), batch, |m| &m.video_target);
                    check(case, &format!("enc_a.{step}.{g}"), batch, |m| &m.audio_context);
                    check(case, &format!("pred_a.{step}.{g}"), batch, |m| &m.audio_target);
                    checked += 4;
                } else {
                    check(case, &format!("enc.{step}.{g}"), batch, |m| &m.video_context);
                    check(case, &format!("pred.{step}.{g}"), batch, |m| &m.video_target);
                    checked += 2;
                }
            }
        }
        assert_eq!(checked, case.expected().len());
    });
}

fn check(case: &Case, name: &str, batch: &[SampleMask], list: impl Fn(&SampleMask) -> &Vec<i32>) {
    let rows: Vec<i64> = batch.iter().flat_map(|mask| list(mask).iter().map(|&i| i64::from(i))).collect();
    case.check(name, &[batch.len(), rows.len() / batch.len()], Data::Int(rows));
}

fn generator(hyper: &Value) -> MaskConfig {
    MaskConfig {
        kind: MaskKind::Multiblock3d,
        aspect_ratio: f64_pair(&hyper["aspect_ratio"]),
        num_blocks: usize_of(&hyper["num_blocks"]),
        spatial_scale: f64_pair(&hyper["spatial_scale"]),
        temporal_scale: f64_pair(&hyper["temporal_scale"]),
        max_temporal_keep: hyper["max_temporal_keep"].as_f64().unwrap(),
        max_keep: hyper["max_keep"].as_u64().map(|n| n as usize),
        ..MaskConfig::default()
    }
}
