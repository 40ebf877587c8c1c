//! Kinds `mel_reference` and `fbank_standard`.

use avjepa_media::clip_sampling::reference_clip_indices;
use avjepa_media::random::NumpyRng;
use avjepa_media::spectrogram::{
    AUDIOSET_MEAN, AUDIOSET_STD, StandardSpectrogram, audio_window, reference_decibels, reference_filterbank,
    reference_spectrogram,
};

use crate::clip_sampling::sampling;
use crate::fixture::{Case, Data, for_each_case, usize_of};

#[test]
fn mel_equals_the_reference() {
    for_each_case("mel_reference", |case| {
        let hyper = case.hyper();
        if hyper["filterbank"] == true {
            filterbank(case);
        } else if hyper["window"] == true {
            window(case);
        } else {
            spectrogram(case, &case.f32("audio"));
        }
    });
}

fn filterbank(case: &Case) {
    let filters = reference_filterbank(case.hyper()["sample_rate"].as_f64().unwrap());
    case.check("filters", &[128, 1025], filters.as_slice().into());
    let sums = filters.chunks_exact(1025).map(|row| row.iter().map(|&w| f64::from(w)).sum()).collect();
    case.check("row_sums", &[128], Data::Float(sums));
}

fn window(case: &Case) {
    let mut hyper = case.hyper().clone();
    hyper["duration"] = serde_json::Value::Null;
    let fps = hyper["fps"].as_f64().unwrap();
    let mut rng = NumpyRng::new(usize_of(&hyper["numpy_seed"]) as u32);
    let clips = reference_clip_indices(&sampling(&hyper), usize_of(&hyper["num_frames"]), fps, &mut rng).unwrap();
    let indices = clips.concat();
    let audio = case.f32("audio");
    let rate = hyper["sample_rate"].as_f64().unwrap();
    let window = audio_window(indices[0], *indices.last().unwrap(), fps, rate, audio.len());
    if hyper["rejected"] == true {
        assert_eq!(window.unwrap_err().code, "AVJ_AUDIO");
        return;
    }
    let window = window.unwrap();
    assert_eq!([window.start, window.end], [usize_of(&hyper["start_sample"]), usize_of(&hyper["end_sample"])]);
    case.check("indices", &[indices.len()], Data::Int(indices.clone()));
    spectrogram(case, &audio[window]);
}

fn spectrogram(case: &Case, audio: &[f32]) {
    let rate = case.hyper()["sample_rate"].as_f64().unwrap();
    if case.has("db") {
        let db = reference_decibels(audio, rate).unwrap();
        case.check("db", &[128, db.len() / 128], db.as_slice().into());
    }
    let stretched = reference_spectrogram(audio, rate).unwrap();
    case.check("sgram", &[128, 192], stretched.as_slice().into());
}

#[test]
fn filter_bank_equals_kaldi() {
    for_each_case("fbank_standard", |case| {
        let mels = usize_of(&case.hyper()["num_mel_bins"]);
        let spectrogram = StandardSpectrogram::new(mels, AUDIOSET_MEAN, AUDIOSET_STD).unwrap();
        let log_mel = spectrogram.log_mel(&case.f32("audio"));
        match usize_of(&case.hyper()["frames"]) {
            0 => assert_eq!(log_mel.unwrap_err().code, "AVJ_AUDIO"),
            frames => case.check("fbank", &[frames, mels], log_mel.unwrap().as_slice().into()),
        }
    });
}
