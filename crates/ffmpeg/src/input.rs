//! One opened file: demuxer, decoder of the selected stream, and the packet and frame in flight.

use crate::abi::*;
use crate::error::{Failure, Result, check, clear_log, is_again};
use crate::picture::Converter;
use ffmpeg::ffi::*;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{null, null_mut};

/// Formats that libav would recognise by name alone, or that pull in other files: never a clip of a data set.
const REFUSED_FORMATS: [&str; 8] = ["tty", "hls", "concat", "dash", "ffmetadata", "data", "bin", "sdp"];

pub struct Input {
    format: *mut AVFormatContext,
    decoder: *mut AVCodecContext,
    packet: *mut AVPacket,
    frame: *mut AVFrame,
    selected: i32,
    converter: Converter,
}

// SAFETY: libav contexts may move between threads as long as one thread uses them at a time, which `&mut self` ensures.
unsafe impl Send for Input {}

impl Input {
    /// Opens a regular file (the caller has checked that) and reads what describes its streams.
    pub fn open(path: &[u8]) -> Result<Self> {
        clear_log();
        // "file:" keeps a name such as "a:b.mp4" or "http:…" from being taken for a protocol.
        let url = CString::new([b"file:".as_slice(), path].concat()).map_err(|_| Failure::new("path holds a NUL"))?;
        // SAFETY: plain allocation; checked below.
        let mut input = unsafe {
            Self {
                format: null_mut(),
                decoder: null_mut(),
                packet: av_packet_alloc(),
                frame: av_frame_alloc(),
                selected: -1,
                converter: Converter::default(),
            }
        };
        if input.packet.is_null() || input.frame.is_null() {
            return Err(Failure::new("out of memory"));
        }
        // SAFETY: the dictionary is freed whatever happens; avformat_open_input frees the context when it fails.
        unsafe {
            let mut options: *mut AVDictionary = null_mut();
            av_dict_set(&raw mut options, c"protocol_whitelist".as_ptr(), c"file".as_ptr(), 0);
            let opened = avformat_open_input(&raw mut input.format, url.as_ptr(), null(), &raw mut options);
            av_dict_free(&raw mut options);
            check(opened, "not a readable media file")?;
            let name = CStr::from_ptr((*(*input.format).iformat).name).to_string_lossy();
            if name.split(',').any(|name| REFUSED_FORMATS.contains(&name)) {
                return Err(Failure::new(format!("not a media file (looks like \"{name}\")")));
            }
            check(avformat_find_stream_info(input.format, null_mut()), "reading the stream headers")?;
        }
        Ok(input)
    }

    fn streams(&self) -> &[*mut AVStream] {
        // SAFETY: libav keeps `nb_streams` valid pointers there; null only when there are none.
        unsafe {
            match (*self.format).nb_streams as usize {
                0 => &[],
                n => std::slice::from_raw_parts((*self.format).streams, n),
            }
        }
    }

    fn stream(&self, index: i32) -> Result<*mut AVStream> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.streams().get(index).copied())
            .ok_or_else(|| Failure::new(format!("no stream {index}")))
    }

    /// The stream that the `ffmpeg` program takes when none is named: of those that packets were seen of, the largest picture
    /// or the most channels, a stream marked as default first, the earliest of equals. A cover picture is a still inside a
    /// sound file, not its video. −1: there is none.
    fn best_stream(&self, kind: AVMediaType) -> i32 {
        const SEEN: i64 = 100_000_000;
        const DEFAULT: i64 = 5_000_000;
        let mut best = (0, -1);
        for (index, &stream) in (0..).zip(self.streams()) {
            // SAFETY: streams of an open context, which always have codec parameters.
            let (p, disposition, events) =
                unsafe { (&*(*stream).codecpar, (*stream).disposition, (*stream).event_flags) };
            if p.codec_type != kind || disposition & AV_DISPOSITION_ATTACHED_PIC != 0 {
                continue;
            }
            let size = match kind {
                AVMediaType::VIDEO => i64::from(p.width) * i64::from(p.height),
                _ => i64::from(p.ch_layout.nb_channels),
            };
            let bonus = |given: bool, bonus| if given { bonus } else { 0 };
            let score = size
                + bonus(events & AVSTREAM_EVENT_FLAG_NEW_PACKETS != 0, SEEN)
                + bonus(disposition & AV_DISPOSITION_DEFAULT != 0, DEFAULT);
            // Announced without size or channels is a stream nevertheless: what is wrong with it is for its reader to say.
            if score.max(1) > best.0 {
                best = (score.max(1), index);
            }
        }
        best.1
    }

    pub fn file_info(&self) -> FileInfo {
        // SAFETY: `format` and its `iformat` are set once opened.
        unsafe {
            FileInfo {
                format: name((*(*self.format).iformat).name),
                duration_us: (*self.format).duration,
                streams: (*self.format).nb_streams,
                best_video: self.best_stream(AVMediaType::VIDEO),
                best_audio: self.best_stream(AVMediaType::AUDIO),
            }
        }
    }

    pub fn stream_info(&self, index: i32) -> Result<StreamInfo> {
        let stream = self.stream(index)?;
        // SAFETY: a stream of an open context always has codec parameters.
        unsafe {
            let p = (*stream).codecpar;
            let rate = match (*stream).avg_frame_rate {
                rate if rate.num > 0 && rate.den > 0 => rate,
                _ => (*stream).r_frame_rate,
            };
            Ok(StreamInfo {
                codec: name(avcodec_get_name((*p).codec_id)),
                time_base_num: (*stream).time_base.num,
                time_base_den: (*stream).time_base.den,
                start_time: (*stream).start_time,
                duration: (*stream).duration,
                frames: (*stream).nb_frames,
                index_entries: i64::from(avformat_index_get_entries_count(stream)),
                fps_num: rate.num,
                fps_den: rate.den,
                width: (*p).width,
                height: (*p).height,
                orientation: orientation(stream),
                video_delay: (*p).video_delay,
                interlaced: i32::from((*p).field_order.0 > AVFieldOrder::PROGRESSIVE.0),
                sample_rate: (*p).sample_rate,
                channels: (*p).ch_layout.nb_channels,
            })
        }
    }

    pub fn select(&mut self, index: i32) -> Result<()> {
        if index >= 0 {
            self.stream(index)?;
        }
        self.selected = index;
        for (i, &stream) in self.streams().iter().enumerate() {
            let wanted = index < 0 || index as usize == i;
            // SAFETY: streams of an open context.
            unsafe { (*stream).discard = if wanted { AVDiscard::DEFAULT } else { AVDiscard::ALL } };
        }
        self.close_decoder();
        Ok(())
    }

    fn close_decoder(&mut self) {
        // SAFETY: null is allowed, and the pointer is nulled.
        unsafe { avcodec_free_context(&raw mut self.decoder) };
    }

    pub fn open_decoder(&mut self) -> Result<()> {
        self.close_decoder();
        let stream = self.stream(self.selected)?;
        // SAFETY: pointers checked; the context is freed by `close_decoder` in every case.
        unsafe {
            let p = (*stream).codecpar;
            let codec = avcodec_find_decoder((*p).codec_id);
            if codec.is_null() {
                let codec = CStr::from_ptr(avcodec_get_name((*p).codec_id)).to_string_lossy();
                return Err(Failure::new(format!("the installed FFmpeg has no decoder for \"{codec}\"")));
            }
            self.decoder = avcodec_alloc_context3(codec);
            if self.decoder.is_null() {
                return Err(Failure::new("out of memory"));
            }
            check(avcodec_parameters_to_context(self.decoder, p), "reading the codec parameters")?;
            (*self.decoder).pkt_timebase = (*stream).time_base;
            // Parallelism is over clips: more threads here only oversubscribe the cores.
            (*self.decoder).thread_count = 1;
            check(avcodec_open2(self.decoder, codec, null_mut()), "opening the decoder")?;
        }
        Ok(())
    }

    pub fn seek(&mut self, timestamp: i64) -> Result<()> {
        // SAFETY: `format` is open; a null decoder is skipped.
        unsafe {
            av_packet_unref(self.packet);
            check(av_seek_frame(self.format, self.selected, timestamp, AVSEEK_FLAG_BACKWARD), "seeking")?;
            if !self.decoder.is_null() {
                avcodec_flush_buffers(self.decoder);
            }
        }
        Ok(())
    }

    pub fn read(&mut self) -> Result<Option<PacketInfo>> {
        loop {
            // SAFETY: packet and context are ours; the packet is emptied before it is filled.
            unsafe {
                av_packet_unref(self.packet);
                match av_read_frame(self.format, self.packet) {
                    AVERROR_EOF => return Ok(None),
                    value => check(value, "reading")?,
                };
                let packet = &*self.packet;
                if self.selected >= 0 && packet.stream_index != self.selected {
                    continue;
                }
                return Ok(Some(PacketInfo {
                    stream: packet.stream_index,
                    flags: self.packet_flags(packet),
                    pts: packet.pts,
                    dts: packet.dts,
                    duration: packet.duration,
                    pos: packet.pos,
                    size: i64::from(packet.size),
                }));
            }
        }
    }

    fn packet_flags(&self, packet: &AVPacket) -> u32 {
        let has = |flag, ours| if packet.flags & flag != 0 { ours } else { 0 };
        let mut flags = has(AV_PKT_FLAG_KEY, PACKET_KEY)
            | has(AV_PKT_FLAG_DISCARD, PACKET_DISCARD)
            | has(AV_PKT_FLAG_CORRUPT, PACKET_CORRUPT);
        // SAFETY: the stream exists; `data` holds `size` bytes.
        unsafe {
            let codec = self.stream(packet.stream_index).map(|stream| (*(*stream).codecpar).codec_id);
            // RFC 6386 9.1: bit 4 of the first byte is show_frame.
            let hidden =
                codec.is_ok_and(|codec| codec == AVCodecID::VP8) && packet.size > 0 && *packet.data & 0x10 == 0;
            if packet.size == 0 || hidden {
                flags |= PACKET_NO_PICTURE;
            }
        }
        flags
    }

    pub fn send(&mut self, pts: i64) -> Result<Status> {
        self.need_decoder()?;
        // SAFETY: decoder and packet are valid; the packet stays ours until it is taken.
        unsafe {
            if pts != NO_PTS {
                (*self.packet).pts = pts;
            }
            let value = avcodec_send_packet(self.decoder, self.packet);
            if is_again(value) {
                return Ok(Status::AGAIN);
            }
            av_packet_unref(self.packet);
            check(value, "decoding")?;
        }
        Ok(Status::OK)
    }

    pub fn send_end(&mut self) -> Result<Status> {
        self.need_decoder()?;
        // SAFETY: a null packet starts draining; repeating it gives AVERROR_EOF, which is what was asked for.
        match unsafe { avcodec_send_packet(self.decoder, null()) } {
            AVERROR_EOF => Ok(Status::OK),
            value if is_again(value) => Ok(Status::AGAIN),
            value => check(value, "draining the decoder").map(|_| Status::OK),
        }
    }

    pub fn receive(&mut self) -> Result<std::result::Result<FrameInfo, Status>> {
        self.need_decoder()?;
        // SAFETY: decoder and frame are valid; libav empties the frame first.
        unsafe {
            match avcodec_receive_frame(self.decoder, self.frame) {
                AVERROR_EOF => return Ok(Err(Status::END)),
                value if is_again(value) => return Ok(Err(Status::AGAIN)),
                value => check(value, "decoding")?,
            };
            let frame = &*self.frame;
            let native = frame.ch_layout.order == AVChannelOrder::NATIVE;
            Ok(Ok(FrameInfo {
                pts: if frame.pts == NO_PTS { frame.best_effort_timestamp } else { frame.pts },
                width: frame.width,
                height: frame.height,
                samples: frame.nb_samples,
                sample_rate: frame.sample_rate,
                channels: frame.ch_layout.nb_channels,
                channel_mask: if native { frame.ch_layout.u.mask } else { 0 },
            }))
        }
    }

    fn need_decoder(&self) -> Result<()> {
        if self.decoder.is_null() { Err(Failure::new("no decoder is open")) } else { Ok(()) }
    }

    /// See [`Api::picture`].
    pub fn picture(&mut self, width: i32, height: i32, scale_flags: u32, out: &mut [u8]) -> Result<()> {
        let orientation = orientation(self.stream(self.selected)?);
        // SAFETY: the frame is ours; Converter checks that it holds a picture.
        unsafe { self.converter.rgb24(self.frame, orientation, (width, height), scale_flags, out) }
    }

    /// See [`Api::sound`].
    pub fn sound(&mut self, out: &mut [f32]) -> Result<()> {
        // SAFETY: the frame is ours.
        unsafe { crate::sound::interleaved_f32(self.frame, out) }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.close_decoder();
        // SAFETY: each was allocated by its counterpart or is null.
        unsafe {
            av_frame_free(&raw mut self.frame);
            av_packet_free(&raw mut self.packet);
            avformat_close_input(&raw mut self.format);
        }
    }
}

/// What `ffmpeg` does by default (autorotate) about the container's display matrix, for quarter turns and mirrors.
/// Other angles are left alone.
fn orientation(stream: *mut AVStream) -> Orientation {
    // SAFETY: the stream belongs to an open context; the matrix is copied out unaligned.
    let m = unsafe {
        let (data, size) = display_matrix(stream);
        if data.is_null() || size < 36 {
            return Orientation::default();
        }
        data.cast::<[i32; 9]>().read_unaligned()
    };
    // SAFETY: nine entries, as asked for.
    let theta = -unsafe { av_display_rotation_get(m.as_ptr()) }.round();
    if theta.is_nan() {
        return Orientation::default();
    }
    let theta = theta - 360.0 * (theta / 360.0 + 0.9 / 360.0).floor();
    let near = |angle: f64| (theta - angle).abs() < 1.0;
    let turn =
        |transpose, flip_x, flip_y| Orientation { transpose, flip_x: u32::from(flip_x), flip_y: u32::from(flip_y) };
    // Transposed, the filters are: clock = flip x, cclock = flip y, clock_flip = both, cclock_flip = none.
    if near(90.0) {
        turn(1, m[3] <= 0, false)
    } else if near(180.0) {
        turn(0, m[0] < 0, m[4] < 0)
    } else if near(270.0) {
        turn(1, m[3] < 0, true)
    } else if near(0.0) {
        turn(0, false, m[4] < 0)
    } else {
        Orientation::default()
    }
}

#[cfg(not(coded_side_data))]
unsafe fn display_matrix(stream: *mut AVStream) -> (*const u8, usize) {
    let mut size = 0;
    // SAFETY: promised by the caller.
    let data = unsafe { av_stream_get_side_data(stream, AVPacketSideDataType::DISPLAYMATRIX, &raw mut size) };
    (data, size)
}

#[cfg(coded_side_data)]
unsafe fn display_matrix(stream: *mut AVStream) -> (*const u8, usize) {
    // SAFETY: promised by the caller.
    unsafe {
        let p = (*stream).codecpar;
        let data =
            av_packet_side_data_get((*p).coded_side_data, (*p).nb_coded_side_data, AVPacketSideDataType::DISPLAYMATRIX);
        if data.is_null() { (null(), 0) } else { ((*data).data, (*data).size) }
    }
}

fn name(text: *const c_char) -> Name {
    let mut name: Name = [0; 64];
    if !text.is_null() {
        // SAFETY: libav's names are static, terminated strings.
        let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
        let len = bytes.len().min(name.len() - 1);
        name[..len].copy_from_slice(&bytes[..len]);
    }
    name
}
