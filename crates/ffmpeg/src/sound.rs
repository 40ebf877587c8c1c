//! Decoded sound in any of FFmpeg's sample formats to interleaved f32.

use crate::error::{Failure, Result};
use ffmpeg::ffi::*;
use std::slice::from_raw_parts;

/// Full scale becomes ±1, as in swresample: integers are divided by 2^(bits − 1), unsigned ones after removing their offset.
///
/// # Safety
/// `frame` must be a valid frame.
pub unsafe fn interleaved_f32(frame: *const AVFrame, out: &mut [f32]) -> Result<()> {
    // SAFETY: promised by the caller.
    let f = unsafe { &*frame };
    let channels = f.ch_layout.nb_channels.max(0) as usize;
    let samples = f.nb_samples.max(0) as usize;
    if channels == 0 || f.extended_data.is_null() || out.len() != samples * channels {
        return Err(Failure::new(format!("{} values asked for, {samples} x {channels} received", out.len())));
    }
    let format = AVSampleFormat(f.format);
    // SAFETY: pure functions of the format.
    let (planar, packed) = unsafe { (av_sample_fmt_is_planar(format) != 0, av_get_packed_sample_fmt(format)) };
    let mut put = |plane: usize, at: usize, stride: usize, count: usize| -> Result<()> {
        // SAFETY: libav guarantees `count` samples of this format in each plane.
        unsafe {
            let data = *f.extended_data.add(plane);
            let out = &mut out[at..];
            match packed {
                AVSampleFormat::U8 => {
                    copy(from_raw_parts(data, count), out, stride, |v| (f32::from(v) - 128.0) / 128.0);
                }
                AVSampleFormat::S16 => {
                    copy(from_raw_parts(data.cast::<i16>(), count), out, stride, |v| f32::from(v) / 32768.0);
                }
                AVSampleFormat::S32 => {
                    copy(from_raw_parts(data.cast::<i32>(), count), out, stride, |v| v as f32 / 2_147_483_648.0);
                }
                AVSampleFormat::S64 => {
                    copy(from_raw_parts(data.cast::<i64>(), count), out, stride, |v| {
                        v as f32 / 9_223_372_036_854_775_808.0
                    });
                }
                AVSampleFormat::FLT => copy(from_raw_parts(data.cast::<f32>(), count), out, stride, |v| v),
                AVSampleFormat::DBL => copy(from_raw_parts(data.cast::<f64>(), count), out, stride, |v| v as f32),
                other => return Err(Failure::new(format!("sample format {} is not known", other.0))),
            }
        }
        Ok(())
    };
    if planar {
        (0..channels).try_for_each(|channel| put(channel, channel, channels, samples))
    } else {
        put(0, 0, 1, samples * channels)
    }
}

fn copy<T: Copy>(from: &[T], out: &mut [f32], stride: usize, convert: impl Fn(T) -> f32) {
    for (to, &value) in out.iter_mut().step_by(stride).zip(from) {
        *to = convert(value);
    }
}
