//! Pictures: JPEG, PNG, WebP, BMP, and the first frame of a GIF, as 8-bit RGB.
//!
//! What a file holds is told by its first bytes, not by its name. Grey, palettes, CMYK and 16 bits become 8-bit RGB, as
//! Pillow's `convert("RGB")` makes them; transparency is left out, not blended. Pictures are turned as their EXIF says. Of
//! 16 bits the upper eight are taken, of grey too (which Pillow cuts off at 255).

use std::fs;
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, Limits, Luma, LumaA, Pixel, Rgb, Rgba};

use crate::error::{MediaError, Result};
use crate::regular_file::check_file;

/// Most bytes that decoding may take: a picture of 16,000 by 16,000 pixels. A small file can claim far more.
const MAX_BYTES: u64 = 1 << 30;

/// Endings of names that are taken for pictures.
pub const IMAGE_EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif"];

/// 8-bit RGB pixels `[height, width, 3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub data: Vec<u8>,
    pub height: usize,
    pub width: usize,
}

/// Decodes a picture.
///
/// # Errors
/// `AVJ_MEDIA` naming the file: missing, empty, of another kind, damaged, or cut off.
pub fn read_picture(path: &Path) -> Result<Picture> {
    check_file(path)?;
    let bytes = fs::read(path).map_err(|error| MediaError::media(path, error.to_string()))?;
    decode_picture(&bytes).map_err(|message| MediaError::media(path, message))
}

/// Decodes a picture whose bytes are at hand. The error is what is wrong with it.
pub fn decode_picture(bytes: &[u8]) -> std::result::Result<Picture, String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    let format = image::guess_format(bytes)
        .ok()
        .filter(|format| {
            use ImageFormat as F;
            matches!(format, F::Jpeg | F::Png | F::WebP | F::Bmp | F::Gif)
        })
        .ok_or("it is no picture that can be read (JPEG, PNG, WebP, BMP or GIF)")?;
    if format == ImageFormat::Jpeg && !ends(bytes) {
        return Err("the JPEG is cut off".to_owned());
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    let damaged = |error: image::ImageError| format!("the picture cannot be decoded: {error}");
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) * 4 > MAX_BYTES {
        return Err(format!("the picture has {width} by {height} pixels, which is too many"));
    }
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    if format == ImageFormat::Gif
        && let Some((frame, colour)) = first_frame(bytes)
        && let Some(canvas) = picture.as_mut_rgba8()
    {
        for (x, y, pixel) in canvas.enumerate_pixels_mut() {
            if !(frame[0].contains(&x) && frame[1].contains(&y)) {
                pixel.0[..3].copy_from_slice(&colour);
            }
        }
    }
    picture.apply_orientation(orientation);
    let rgb = upper_bytes(picture).into_rgb8();
    let (width, height) = rgb.dimensions();
    Ok(Picture { data: rgb.into_raw(), height: height as usize, width: width as usize })
}

/// A picture of 16 bits in 8: the upper ones.
fn upper_bytes(picture: DynamicImage) -> DynamicImage {
    fn upper<P: Pixel<Subpixel = u16>, Q: Pixel<Subpixel = u8>>(
        picture: ImageBuffer<P, Vec<u16>>,
    ) -> Option<ImageBuffer<Q, Vec<u8>>> {
        let (width, height) = picture.dimensions();
        ImageBuffer::from_raw(width, height, picture.into_raw().iter().map(|&value| (value >> 8) as u8).collect())
    }
    let made = match picture {
        DynamicImage::ImageLuma16(grey) => upper::<_, Luma<u8>>(grey).map(Into::into),
        DynamicImage::ImageLumaA16(grey) => upper::<_, LumaA<u8>>(grey).map(Into::into),
        DynamicImage::ImageRgb16(rgb) => upper::<_, Rgb<u8>>(rgb).map(Into::into),
        DynamicImage::ImageRgba16(rgba) => upper::<_, Rgba<u8>>(rgba).map(Into::into),
        other => Some(other),
    };
    made.unwrap_or_default()
}

/// Columns and rows of a GIF's first frame, which may be smaller than the picture, and the colour around it: that of the
/// transparent entry of its palette, or of the first. None where there is no palette.
fn first_frame(bytes: &[u8]) -> Option<([Range<u32>; 2], [u8; 3])> {
    let palette = |at: usize, flags: u8| {
        let entries = 3 << ((flags & 7) + 1);
        if flags & 0x80 == 0 { Some((at, None)) } else { Some((at + entries, Some(bytes.get(at..at + entries)?))) }
    };
    let (mut at, global) = palette(13, *bytes.get(10)?)?;
    let mut entry = 0;
    loop {
        match bytes.get(at..)? {
            [0x21, 0xf9, 4, flags, _, _, transparent, ..] if flags & 1 == 1 => entry = usize::from(*transparent),
            [0x2c, ..] => break,
            [0x21, ..] => {}
            _ => return None,
        }
        // An extension is blocks of so many bytes, to an empty one.
        at += 2;
        while *bytes.get(at)? > 0 {
            at += 1 + usize::from(bytes[at]);
        }
        at += 1;
    }
    let word = |i: usize| Some(u32::from(u16::from_le_bytes([*bytes.get(at + i)?, *bytes.get(at + i + 1)?])));
    let (x, y, width, height) = (word(1)?, word(3)?, word(5)?, word(7)?);
    let (_, local) = palette(at + 10, *bytes.get(at + 9)?)?;
    let colour = local.or(global)?.as_chunks::<3>().0.get(entry)?;
    Some(([x..x + width, y..y + height], *colour))
}

/// Whether a JPEG has its end mark after the beginning of its pixels: the decoder paints what is missing grey. (A thumbnail
/// in the header has an end mark of its own.)
fn ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        let Some(&[0xff, marker]) = bytes.get(at..at + 2) else { return false };
        match marker {
            0xff => at += 1,
            // The pixels: in them 0xff is followed by 0 or a restart.
            0xda => return bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            0x01 | 0xd0..=0xd7 => at += 2,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, RgbImage, RgbaImage};

    fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient() -> RgbImage {
        RgbImage::from_fn(6, 4, |x, y| Rgb([(x * 40) as u8, (y * 60) as u8, 200]))
    }

    #[test]
    fn formats_without_loss_give_their_pixels() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            let picture = decode_picture(&encoded(gradient(), format)).unwrap();
            assert_eq!((picture.height, picture.width), (4, 6));
            assert_eq!(picture.data, gradient().into_raw(), "{format:?}");
        }
    }

    #[test]
    fn other_colours_become_rgb() {
        let grey = decode_picture(&encoded(GrayImage::from_pixel(2, 2, image::Luma([7])), ImageFormat::Png)).unwrap();
        assert_eq!(grey.data, [7; 12]);
        let deep = ImageBuffer::from_pixel(1, 1, Rgb([0xffff_u16, 0x8080, 0]));
        assert_eq!(decode_picture(&encoded(deep, ImageFormat::Png)).unwrap().data, [255, 128, 0]);
        let deep_grey = ImageBuffer::from_pixel(1, 1, Luma([0x07ff_u16]));
        assert_eq!(decode_picture(&encoded(deep_grey, ImageFormat::Png)).unwrap().data, [7; 3]);
        // Transparency is left out, not blended.
        let clear = RgbaImage::from_pixel(1, 1, Rgba([9, 8, 7, 0]));
        assert_eq!(decode_picture(&encoded(clear, ImageFormat::Png)).unwrap().data, [9, 8, 7]);
        let grey_clear = ImageBuffer::from_pixel(1, 1, LumaA([5_u8, 0]));
        assert_eq!(decode_picture(&encoded(grey_clear, ImageFormat::Png)).unwrap().data, [5, 5, 5]);
    }

    #[test]
    fn pictures_are_turned_as_their_exif_says() {
        let jpeg = encoded(gradient(), ImageFormat::Jpeg);
        // One entry: orientation (0x0112), a short, 6: turned a quarter to the right.
        let tiff = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".as_slice()].concat();
        let exif = [b"Exif\0\0".as_slice(), &tiff].concat();
        let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        let turned = [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat();
        let (plain, turned) = (decode_picture(&jpeg).unwrap(), decode_picture(&turned).unwrap());
        assert_eq!((turned.height, turned.width), (6, 4));
        // The lower left corner becomes the upper left one.
        assert_eq!(turned.data[..3], plain.data[3 * 6 * 3..][..3]);
    }

    #[test]
    fn the_first_frame_of_a_gif() {
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
        for colour in [[255, 0, 0, 255], [0, 255, 0, 255]] {
            encoder.encode_frame(image::Frame::new(RgbaImage::from_pixel(2, 2, Rgba(colour)))).unwrap();
        }
        drop(encoder);
        assert_eq!(decode_picture(&bytes).unwrap().data[..3], [255, 0, 0]);
    }

    #[test]
    fn around_the_first_frame_of_a_gif() {
        // A canvas of 3 by 2, palette red and green, a frame of one green pixel at (1, 0).
        let gif = |control: &[u8]| {
            let head = [b"GIF89a\x03\0\x02\0\x80\x01\0".as_slice(), &[255, 0, 0, 0, 255, 0]].concat();
            let frame = b"\x2c\x01\0\0\0\x01\0\x01\0\0\x02\x02\x4c\x01\0;";
            decode_picture(&[head.as_slice(), control, frame].concat()).unwrap().data
        };
        let (red, green) = ([255, 0, 0], [0, 255, 0]);
        assert_eq!(gif(b""), [red, green, red, red, red, red].concat());
        assert_eq!(gif(b"\x21\xf9\x04\x01\0\0\x01\0"), green.repeat(6));
    }

    #[test]
    fn what_is_no_whole_picture_is_refused() {
        let message = |bytes: &[u8]| decode_picture(bytes).unwrap_err();
        assert_eq!(message(b""), "the file is empty");
        assert!(message(b"path label\n").contains("no picture"));
        assert!(message(b"II*\0tiff").contains("no picture"));
        let jpeg = encoded(gradient(), ImageFormat::Jpeg);
        assert!(message(&jpeg[..jpeg.len() - 10]).contains("cut off"));
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif] {
            let bytes = encoded(gradient(), format);
            assert!(message(&bytes[..bytes.len() / 2]).contains("cannot be decoded"), "{format:?}");
        }
        let mut huge = encoded(gradient(), ImageFormat::Bmp);
        huge[18..26].copy_from_slice(&[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);
        assert!(decode_picture(&huge).is_err());
    }
}
