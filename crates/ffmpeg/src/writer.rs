//! Writes a film: RGB pictures and f32 sound in, a container chosen by the file name's extension out.

use crate::abi::WriterOptions;
use crate::error::{Failure, Result, check, clear_log, is_again};
use crate::picture::{Owned, from_rgb24};
use ffmpeg::ffi::*;
use std::ffi::{CStr, CString, c_int};
use std::ptr::{null, null_mut};

pub struct Writer {
    format: *mut AVFormatContext,
    packet: *mut AVPacket,
    video: Encoder,
    audio: Option<Encoder>,
    /// Interleaved samples that do not fill an encoder frame yet.
    pending: Vec<f32>,
    finished: bool,
}

// SAFETY: as for `Input`: one thread at a time, ensured by `&mut self`.
unsafe impl Send for Writer {}

struct Encoder {
    context: *mut AVCodecContext,
    stream: *mut AVStream,
    next_pts: i64,
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: ours, or null.
        unsafe { avcodec_free_context(&raw mut self.context) };
    }
}

impl Writer {
    pub fn open(path: &[u8], o: &WriterOptions) -> Result<Self> {
        clear_log();
        if o.width <= 0 || o.height <= 0 || o.fps_num <= 0 || o.fps_den <= 0 {
            return Err(Failure::new(format!(
                "cannot write {}x{} at {}/{} fps",
                o.width, o.height, o.fps_num, o.fps_den
            )));
        }
        if o.sample_rate < 0 || (o.sample_rate > 0 && o.channels <= 0) {
            return Err(Failure::new(format!("cannot write {} channels at {} Hz", o.channels, o.sample_rate)));
        }
        let url = CString::new([b"file:".as_slice(), path].concat()).map_err(|_| Failure::new("path holds a NUL"))?;
        // SAFETY: every pointer is checked before use; what is allocated here is freed by Drop.
        unsafe {
            let mut format = null_mut();
            check(
                avformat_alloc_output_context2(&raw mut format, null(), null(), url.as_ptr()),
                "choosing a container by the file name's extension",
            )?;
            let none = Encoder { context: null_mut(), stream: null_mut(), next_pts: 0 };
            let mut writer = Self {
                format,
                packet: av_packet_alloc(),
                video: none,
                audio: None,
                pending: Vec::new(),
                finished: false,
            };
            writer.video = video_encoder(format, o)?;
            if o.sample_rate > 0 {
                writer.audio = Some(audio_encoder(format, o)?);
            }
            check(avio_open(&raw mut (*format).pb, url.as_ptr(), AVIO_FLAG_WRITE), "creating the file")?;
            check(avformat_write_header(format, null_mut()), "writing the header")?;
            Ok(writer)
        }
    }

    pub fn video(&mut self, rgb: &[u8]) -> Result<()> {
        // SAFETY: the encoder is open; the picture has its size and format.
        unsafe {
            let context = self.video.context;
            let picture = Owned::picture((*context).width, (*context).height, (*context).pix_fmt)?;
            from_rgb24(rgb, picture.0)?;
            (*picture.0).pts = self.video.next_pts;
            self.video.next_pts += 1;
            encode(self.format, self.packet, &self.video, picture.0)
        }
    }

    pub fn audio(&mut self, samples: &[f32]) -> Result<()> {
        let Some(audio) = &self.audio else {
            return Err(Failure::new("this writer was opened without sound"));
        };
        // SAFETY: the encoder is open.
        let (frame, channels) = unsafe { (frame_size(audio), (*audio.context).ch_layout.nb_channels as usize) };
        if !samples.len().is_multiple_of(channels) {
            return Err(Failure::new(format!("{} values are not whole samples of {channels} channels", samples.len())));
        }
        self.pending.extend_from_slice(samples);
        let block = frame * channels;
        let whole = self.pending.len() / block * block;
        let rest = self.pending.split_off(whole);
        for block in std::mem::replace(&mut self.pending, rest).chunks(block) {
            self.encode_sound(block, channels)?;
        }
        Ok(())
    }

    fn encode_sound(&mut self, block: &[f32], channels: usize) -> Result<()> {
        let Some(audio) = &mut self.audio else { return Ok(()) };
        let samples = block.len() / channels;
        // SAFETY: the frame is allocated for `samples` samples of the encoder's layout before it is filled.
        unsafe {
            let context = audio.context;
            let sound = Owned(av_frame_alloc());
            if sound.0.is_null() {
                return Err(Failure::new("out of memory"));
            }
            (*sound.0).nb_samples = samples as c_int;
            (*sound.0).format = (*context).sample_fmt.0;
            (*sound.0).sample_rate = (*context).sample_rate;
            check(
                av_channel_layout_copy(&raw mut (*sound.0).ch_layout, &raw const (*context).ch_layout),
                "channel layout",
            )?;
            check(av_frame_get_buffer(sound.0, 0), "allocating sound")?;
            for channel in 0..channels {
                let plane = (*(*sound.0).extended_data.add(channel)).cast::<f32>();
                for (i, &value) in block.iter().skip(channel).step_by(channels).enumerate() {
                    plane.add(i).write(value);
                }
            }
            (*sound.0).pts = audio.next_pts;
            audio.next_pts += samples as i64;
            encode(self.format, self.packet, audio, sound.0)
        }
    }

    pub fn finish(&mut self) -> Result<()> {
        if self.finished {
            return Err(Failure::new("the file is finished already"));
        }
        self.finished = true;
        let rest = std::mem::take(&mut self.pending);
        // SAFETY: encoders and container are open; a null frame drains.
        unsafe {
            if let Some(audio) = &self.audio {
                let channels = (*audio.context).ch_layout.nb_channels as usize;
                if !rest.is_empty() {
                    self.encode_sound(&rest, channels)?;
                }
            }
            encode(self.format, self.packet, &self.video, null())?;
            if let Some(audio) = &self.audio {
                encode(self.format, self.packet, audio, null())?;
            }
            check(av_write_trailer(self.format), "writing the index")?;
            // A full disk may show only now, when buffers are flushed.
            let written = (*(*self.format).pb).error;
            let closed = avio_closep(&raw mut (*self.format).pb);
            check(written, "writing")?;
            check(closed, "closing the file")?;
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // SAFETY: each is ours or null; closing an unfinished file leaves it incomplete, as documented.
        unsafe {
            av_packet_free(&raw mut self.packet);
            if !self.format.is_null() {
                avio_closep(&raw mut (*self.format).pb);
                avformat_free_context(self.format);
            }
        }
    }
}

fn find_encoder(name: &str) -> Result<*const AVCodec> {
    let text = CString::new(name).map_err(|_| Failure::new("codec name holds a NUL"))?;
    // SAFETY: terminated strings; results are static or null.
    unsafe {
        let mut codec = avcodec_find_encoder_by_name(text.as_ptr());
        if codec.is_null() {
            let desc = avcodec_descriptor_get_by_name(text.as_ptr());
            codec = desc.as_ref().map_or(null(), |desc| avcodec_find_encoder(desc.id));
        }
        if codec.is_null() {
            return Err(Failure::new(format!("the installed FFmpeg has no encoder \"{name}\"")));
        }
        Ok(codec)
    }
}

/// # Safety
/// `format` must be an open output context.
unsafe fn new_encoder(format: *mut AVFormatContext, codec: *const AVCodec) -> Result<Encoder> {
    // SAFETY: promised by the caller; allocations are checked.
    unsafe {
        let encoder = Encoder {
            context: avcodec_alloc_context3(codec),
            stream: avformat_new_stream(format, null()),
            next_pts: 0,
        };
        if encoder.context.is_null() || encoder.stream.is_null() {
            return Err(Failure::new("out of memory"));
        }
        (*encoder.context).thread_count = 1;
        if (*(*format).oformat).flags & AVFMT_GLOBALHEADER != 0 {
            (*encoder.context).flags |= AV_CODEC_FLAG_GLOBAL_HEADER as c_int;
        }
        Ok(encoder)
    }
}

/// # Safety
/// As `new_encoder`; all options but the time base must be set.
unsafe fn open_encoder(encoder: &Encoder, codec: *const AVCodec, time_base: AVRational) -> Result<()> {
    // SAFETY: promised by the caller.
    unsafe {
        (*encoder.context).time_base = time_base;
        (*encoder.stream).time_base = time_base;
        let name = CStr::from_ptr((*codec).name).to_string_lossy();
        check(avcodec_open2(encoder.context, codec, null_mut()), &format!("opening the encoder \"{name}\""))?;
        check(avcodec_parameters_from_context((*encoder.stream).codecpar, encoder.context), "describing the stream")?;
    }
    Ok(())
}

/// # Safety
/// As `new_encoder`.
unsafe fn video_encoder(format: *mut AVFormatContext, o: &WriterOptions) -> Result<Encoder> {
    // SAFETY: promised by the caller; option names are terminated.
    unsafe {
        let codec = find_encoder(o.video_codec.as_str())?;
        let encoder = new_encoder(format, codec)?;
        let context = &mut *encoder.context;
        (context.width, context.height) = (o.width, o.height);
        context.pix_fmt = AVPixelFormat::YUV420P;
        context.gop_size = o.gop.max(1);
        context.max_b_frames = o.max_b_frames.max(0);
        context.framerate = AVRational { num: o.fps_num, den: o.fps_den };
        (*encoder.stream).avg_frame_rate = context.framerate;
        let has_crf =
            !context.priv_data.is_null() && !av_opt_find(context.priv_data, c"crf".as_ptr(), null(), 0, 0).is_null();
        if has_crf {
            check(
                av_opt_set_double(context.priv_data, c"crf".as_ptr(), f64::from(o.quality), 0),
                "setting the quality",
            )?;
            // Where the encoder knows presets; others have none to set.
            av_opt_set(context.priv_data, c"preset".as_ptr(), c"veryfast".as_ptr(), 0);
        } else {
            context.flags |= AV_CODEC_FLAG_QSCALE as c_int;
            context.global_quality = o.quality * FF_QP2LAMBDA;
        }
        open_encoder(&encoder, codec, AVRational { num: o.fps_den, den: o.fps_num })?;
        Ok(encoder)
    }
}

/// # Safety
/// As `new_encoder`.
unsafe fn audio_encoder(format: *mut AVFormatContext, o: &WriterOptions) -> Result<Encoder> {
    // SAFETY: promised by the caller.
    unsafe {
        let codec = find_encoder(o.audio_codec.as_str())?;
        let encoder = new_encoder(format, codec)?;
        let context = &mut *encoder.context;
        context.sample_rate = o.sample_rate;
        context.sample_fmt = AVSampleFormat::FLTP;
        context.bit_rate = o.audio_bit_rate;
        av_channel_layout_default(&raw mut context.ch_layout, o.channels);
        if !context.priv_data.is_null() {
            // AAC's other search is many times slower and no better at these rates; other encoders lack the option.
            av_opt_set(context.priv_data, c"aac_coder".as_ptr(), c"fast".as_ptr(), 0);
        }
        open_encoder(&encoder, codec, AVRational { num: 1, den: o.sample_rate })?;
        Ok(encoder)
    }
}

/// Samples per frame; encoders that take any number get 1024.
unsafe fn frame_size(audio: &Encoder) -> usize {
    // SAFETY: the encoder is open.
    match unsafe { (*audio.context).frame_size } {
        n @ 1.. => n as usize,
        _ => 1024,
    }
}

/// Encodes one frame (null: drains) and writes what comes out, interleaved by time.
///
/// # Safety
/// All pointers must be valid; `frame` may be null.
unsafe fn encode(
    format: *mut AVFormatContext,
    packet: *mut AVPacket,
    e: &Encoder,
    frame: *const AVFrame,
) -> Result<()> {
    // SAFETY: promised by the caller.
    unsafe {
        check(avcodec_send_frame(e.context, frame), "encoding")?;
        loop {
            match avcodec_receive_packet(e.context, packet) {
                AVERROR_EOF => return Ok(()),
                value if is_again(value) => return Ok(()),
                value => check(value, "encoding")?,
            };
            if (*packet).duration == 0 && (*e.context).codec_type == AVMediaType::VIDEO {
                (*packet).duration = 1;
            }
            av_packet_rescale_ts(packet, (*e.context).time_base, (*e.stream).time_base);
            (*packet).stream_index = (*e.stream).index;
            check(av_interleaved_write_frame(format, packet), "writing")?;
        }
    }
}
