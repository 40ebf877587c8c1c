//! Decoded picture to upright RGB24, with the bits that the `ffmpeg` program gives for the same swscale flags.

use crate::abi::{Orientation, SCALE_ACCURATE_RND, SCALE_FULL_CHROMA_INT};
use crate::error::{Failure, Result, check};
use ffmpeg::ffi::*;
use std::ffi::c_int;
use std::ptr::{null, null_mut};

/// swscale context of the last picture's kind; most streams need one.
pub struct Converter {
    context: *mut SwsContext,
    key: Option<Key>,
}

#[derive(Clone, Copy, PartialEq)]
struct Key {
    from: (c_int, c_int, AVPixelFormat, AVColorSpace, AVColorRange),
    to: (c_int, c_int),
    flags: u32,
}

impl Default for Converter {
    fn default() -> Self {
        Self { context: null_mut(), key: None }
    }
}

impl Drop for Converter {
    fn drop(&mut self) {
        // SAFETY: null is allowed.
        unsafe { sws_freeContext(self.context) };
    }
}

/// A frame of our own, freed when it goes out of scope.
pub struct Owned(pub *mut AVFrame);

impl Owned {
    /// A picture with the alignment that libav's filters use: the last pixels of a row can depend on it.
    pub fn picture(width: c_int, height: c_int, format: AVPixelFormat) -> Result<Self> {
        // SAFETY: plain allocation, checked.
        unsafe {
            let frame = Owned(av_frame_alloc());
            if frame.0.is_null() {
                return Err(Failure::new("out of memory"));
            }
            (*frame.0).width = width;
            (*frame.0).height = height;
            (*frame.0).format = format.0;
            check(av_frame_get_buffer(frame.0, 0), "allocating a picture")?;
            Ok(frame)
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: ours, or null.
        unsafe { av_frame_free(&raw mut self.0) };
    }
}

impl Converter {
    /// Writes `frame`, made upright and brought to `size` = (width, height), into `out` without row padding.
    ///
    /// The turn happens before the colour conversion, as in `ffmpeg`'s filter graph, wherever the layout of the chroma
    /// planes allows it; otherwise after.
    ///
    /// # Safety
    /// `frame` must be a valid frame.
    pub unsafe fn rgb24(
        &mut self,
        frame: *const AVFrame,
        orientation: Orientation,
        size: (i32, i32),
        scale_flags: u32,
        out: &mut [u8],
    ) -> Result<()> {
        let (width, height) = size;
        if width <= 0 || height <= 0 || out.len() != width as usize * height as usize * 3 {
            return Err(Failure::new(format!("{} bytes are not a picture of {width}x{height}", out.len())));
        }
        // SAFETY: promised by the caller; frames made here are valid as well.
        unsafe {
            if (*frame).width <= 0 || (*frame).height <= 0 || (*frame).data[0].is_null() {
                return Err(Failure::new("no picture was received"));
            }
            let format = AVPixelFormat((*frame).format);
            let upright = orientation == Orientation::default();
            let planes = planes(format, orientation.transpose != 0);
            if upright {
                let rgb = self.convert(frame, width, height, scale_flags)?;
                copy_rows(&rgb, out, width as usize * 3);
            } else if let Some(planes) = planes {
                let turned = turn(frame, orientation, &planes)?;
                let rgb = self.convert(turned.0, width, height, scale_flags)?;
                copy_rows(&rgb, out, width as usize * 3);
            } else {
                let (w, h) = if orientation.transpose != 0 { (height, width) } else { (width, height) };
                let rgb = self.convert(frame, w, h, scale_flags)?;
                let turned = turn(rgb.0, orientation, &[Plane { step: 3, shift_x: 0, shift_y: 0 }])?;
                copy_rows(&turned, out, width as usize * 3);
            }
        }
        Ok(())
    }

    unsafe fn convert(&mut self, frame: *const AVFrame, width: c_int, height: c_int, flags: u32) -> Result<Owned> {
        let rgb = Owned::picture(width, height, AVPixelFormat::RGB24)?;
        // SAFETY: source promised by the caller; the context was made for exactly these sizes and formats.
        unsafe {
            let f = &*frame;
            let from = (f.width, f.height, AVPixelFormat(f.format), f.colorspace, f.color_range);
            let key = Key { from, to: (width, height), flags };
            if self.key != Some(key) {
                self.prepare(key)?;
            }
            check(
                sws_scale(
                    self.context,
                    f.data.as_ptr().cast(),
                    f.linesize.as_ptr(),
                    0,
                    f.height,
                    (*rgb.0).data.as_ptr(),
                    (*rgb.0).linesize.as_ptr(),
                ),
                "converting to RGB",
            )?;
        }
        Ok(rgb)
    }

    /// Sets swscale up as the `scale` filter does that `ffmpeg` inserts: its default algorithm (bicubic, without effect
    /// at equal size), its convention for where 4:2:0 chroma sits, matrix and range from the picture. An unspecified
    /// matrix is swscale's default, BT.601; an unspecified range is limited for YUV.
    unsafe fn prepare(&mut self, key: Key) -> Result<()> {
        self.key = None;
        let (width, height, format, space, range) = key.from;
        let mut flags = SWS_BICUBIC;
        if key.flags & SCALE_ACCURATE_RND != 0 {
            flags |= SWS_ACCURATE_RND;
        }
        if key.flags & SCALE_FULL_CHROMA_INT != 0 {
            flags |= SWS_FULL_CHR_H_INT;
        }
        // SAFETY: the context is ours; option names are terminated; tables returned by swscale are static.
        unsafe {
            sws_freeContext(self.context);
            self.context = sws_alloc_context();
            if self.context.is_null() {
                return Err(Failure::new("out of memory"));
            }
            let v_chroma = if format == AVPixelFormat::YUV420P { 128 } else { -513 };
            for (name, value) in [
                (c"srcw", width),
                (c"srch", height),
                (c"src_format", format.0),
                (c"dstw", key.to.0),
                (c"dsth", key.to.1),
                (c"dst_format", AVPixelFormat::RGB24.0),
                (c"sws_flags", flags),
                (c"src_h_chr_pos", -513),
                (c"src_v_chr_pos", v_chroma),
            ] {
                check(av_opt_set_int(self.context.cast(), name.as_ptr(), i64::from(value), 0), "setting up swscale")?;
            }
            check(sws_init_context(self.context, null_mut(), null_mut()), "setting up the conversion to RGB")?;

            let (mut inverse, mut forward) = (null_mut(), null_mut());
            let (mut from_full, mut to_full, mut brightness, mut contrast, mut saturation) = (0, 0, 0, 0, 0);
            let known = sws_getColorspaceDetails(
                self.context,
                &raw mut inverse,
                &raw mut from_full,
                &raw mut forward,
                &raw mut to_full,
                &raw mut brightness,
                &raw mut contrast,
                &raw mut saturation,
            );
            if known >= 0 {
                if range != AVColorRange::UNSPECIFIED {
                    from_full = c_int::from(range == AVColorRange::JPEG);
                }
                let matrix = sws_getCoefficients(match space.0 as c_int {
                    space @ (1..=7 | 9..=10) => space,
                    _ => SWS_CS_DEFAULT,
                });
                sws_setColorspaceDetails(
                    self.context,
                    matrix,
                    from_full,
                    matrix,
                    to_full,
                    brightness,
                    contrast,
                    saturation,
                );
            }
        }
        self.key = Some(key);
        Ok(())
    }
}

/// One plane as a grid of elements of `step` bytes, subsampled by 2^shift.
struct Plane {
    step: usize,
    shift_x: u32,
    shift_y: u32,
}

/// The planes of a format that can be turned element by element, else None: packed 4:2:2, palettes, bit streams,
/// and, for a transposition, chroma subsampled differently in x and y.
fn planes(format: AVPixelFormat, transpose: bool) -> Option<Vec<Plane>> {
    const ODD: u64 =
        (AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_BAYER) as u64;
    // SAFETY: libav returns a static description or null.
    let desc = unsafe { av_pix_fmt_desc_get(format).as_ref() }?;
    let subsampled = desc.log2_chroma_w != 0 || desc.log2_chroma_h != 0;
    if desc.flags & ODD != 0 || (transpose && desc.log2_chroma_w != desc.log2_chroma_h) {
        return None;
    }
    let components = &desc.comp[..usize::from(desc.nb_components)];
    let count = components.iter().map(|c| c.plane).max()? as usize + 1;
    if subsampled && count == 1 {
        return None;
    }
    (0..count)
        .map(|plane| {
            let (i, component) = components.iter().enumerate().find(|(_, c)| c.plane as usize == plane)?;
            let chroma = subsampled && (i == 1 || i == 2);
            let shift = |log2: u8| if chroma { u32::from(log2) } else { 0 };
            Some(Plane {
                step: component.step as usize,
                shift_x: shift(desc.log2_chroma_w),
                shift_y: shift(desc.log2_chroma_h),
            })
        })
        .collect()
}

unsafe fn turn(frame: *const AVFrame, o: Orientation, planes: &[Plane]) -> Result<Owned> {
    // SAFETY: promised by the caller; `turned` is allocated for the turned size, and every plane is walked inside its
    // own ceil(size / 2^shift) elements.
    unsafe {
        let f = &*frame;
        let (width, height) = if o.transpose != 0 { (f.height, f.width) } else { (f.width, f.height) };
        let turned = Owned::picture(width, height, AVPixelFormat(f.format))?;
        check(av_frame_copy_props(turned.0, frame), "copying a picture's properties")?;
        for (i, plane) in planes.iter().enumerate() {
            let w = (width as usize).div_ceil(1 << plane.shift_x);
            let h = (height as usize).div_ceil(1 << plane.shift_y);
            let (from, from_stride) = (f.data[i].cast_const(), f.linesize[i] as isize);
            let (to, to_stride) = ((*turned.0).data[i], (*turned.0).linesize[i] as isize);
            for y in 0..h {
                let v = if o.flip_y != 0 { h - 1 - y } else { y };
                let row = to.offset(y as isize * to_stride);
                for x in 0..w {
                    let u = if o.flip_x != 0 { w - 1 - x } else { x };
                    let (sx, sy) = if o.transpose != 0 { (v, u) } else { (u, v) };
                    let source = from.offset(sy as isize * from_stride + (sx * plane.step) as isize);
                    std::ptr::copy_nonoverlapping(source, row.add(x * plane.step), plane.step);
                }
            }
        }
        Ok(turned)
    }
}

unsafe fn copy_rows(frame: &Owned, out: &mut [u8], row: usize) {
    for (y, to) in out.chunks_exact_mut(row).enumerate() {
        // SAFETY: the frame has as many rows as `out`, each at least `row` bytes.
        unsafe {
            let from = (*frame.0).data[0].offset(y as isize * (*frame.0).linesize[0] as isize);
            to.copy_from_slice(std::slice::from_raw_parts(from, row));
        }
    }
}

/// RGB24 rows into a frame of an encoder's format, with swscale's accurate rounding.
///
/// # Safety
/// `to` must be a writable picture.
pub unsafe fn from_rgb24(rgb: &[u8], to: *mut AVFrame) -> Result<()> {
    // SAFETY: promised by the caller; the slice length is checked against the size.
    unsafe {
        let (width, height) = ((*to).width, (*to).height);
        if rgb.len() != width as usize * height as usize * 3 {
            return Err(Failure::new(format!("{} bytes are not a picture of {width}x{height}", rgb.len())));
        }
        let context = sws_getContext(
            width,
            height,
            AVPixelFormat::RGB24,
            width,
            height,
            AVPixelFormat((*to).format),
            SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP,
            null_mut(),
            null_mut(),
            null(),
        );
        if context.is_null() {
            return Err(Failure::new("no conversion from RGB to the encoder's format"));
        }
        let planes = [rgb.as_ptr(), null(), null(), null()];
        let strides = [width * 3, 0, 0, 0];
        let value = sws_scale(
            context,
            planes.as_ptr(),
            strides.as_ptr(),
            0,
            height,
            (*to).data.as_ptr(),
            (*to).linesize.as_ptr(),
        );
        sws_freeContext(context);
        check(value, "converting from RGB")?;
    }
    Ok(())
}
