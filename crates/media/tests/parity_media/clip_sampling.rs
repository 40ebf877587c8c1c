//! Kind `clip_sampling`: exact frame indices, and errors where the reference fails.

use avjepa_media::clip_sampling::{ReferenceClipSampling, reference_clip_indices};
use avjepa_media::random::NumpyRng;
use serde_json::Value;

use crate::fixture::{Data, for_each_case, usize_of};

#[test]
fn indices_equal_the_reference() {
    for_each_case("clip_sampling", |case| {
        for entry in case.hyper()["entries"].as_array().unwrap() {
            let mut rng = NumpyRng::new(usize_of(&entry["numpy_seed"]) as u32);
            let fps = entry["fps"].as_f64().unwrap();
            let clips = reference_clip_indices(&sampling(entry), usize_of(&entry["num_frames"]), fps, &mut rng);
            match entry["tensor"].as_str() {
                Some(tensor) => {
                    let clips = clips.unwrap();
                    case.check(tensor, &[clips.len(), clips[0].len()], Data::Int(clips.concat()));
                }
                None => assert_eq!(clips.unwrap_err().code, "AVJ_CLIP", "{entry}"),
            }
        }
    });
}

pub fn sampling(hyper: &Value) -> ReferenceClipSampling {
    ReferenceClipSampling {
        frames_per_clip: usize_of(&hyper["frames_per_clip"]),
        frame_step: usize_of(&hyper["frame_step"]),
        duration: hyper["duration"].as_f64(),
        num_clips: usize_of(&hyper["num_clips"]),
        allow_overlap: hyper["allow_overlap"].as_bool().unwrap(),
        random: hyper["random"].as_bool().unwrap(),
    }
}
