//! Smaller copies of a photo: where they are, and how they are made. Pure.
//!
//! A copy is a JPEG, upright whatever the photo says of the camera's position, and has nothing else of what the photo says of itself:
//! neither place nor device. Bytes are strangers': how large a picture may be is looked at before it is decoded.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Limits, RgbImage, Rgba,
    codecs::jpeg::JpegEncoder, imageops::FilterType, metadata::Orientation,
};

/// Longest sides of the copies, in pixels, the smallest first.
pub const SIZES: [u32; 2] = [SMALL, LARGE];
const SMALL: u32 = 256;
const LARGE: u32 = 1_024;

/// Most pixels of a photo.
const MOST_PIXELS: u64 = 40_000_000;
/// Most bytes of a decoded photo: four a pixel.
const MOST_BYTES: u64 = 4 * MOST_PIXELS;
/// What a decoder may take beside that, in bytes.
const MOST_BESIDE: u64 = 64 << 20;
/// Of the copies, of a hundred.
const QUALITY: u8 = 82;

/// Why there are no copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmade {
    /// No decoder is known for its format.
    #[error("UNSUPPORTED")]
    Unsupported,
    /// It has too many pixels, or takes too much to decode.
    #[error("TOO_LARGE")]
    TooLarge,
    /// Its bytes are no picture of its format.
    #[error("UNREADABLE")]
    Unreadable,
}

/// A smaller copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// One of [`SIZES`].
    pub max_px: u32,
    /// A JPEG.
    pub bytes: Vec<u8>,
}

/// Where storage has a copy of an object.
#[must_use]
pub fn key_of(object_key: &str, max_px: u32) -> String {
    let path = object_key.strip_prefix("uploads/").unwrap_or(object_key);
    let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
    format!("thumbnails/{stem}/{max_px}.jpg")
}

/// Whether copies can be made of a format.
#[must_use]
pub fn is_supported(mime_type: &str) -> bool {
    format_of(mime_type).is_some()
}

fn format_of(mime_type: &str) -> Option<ImageFormat> {
    match mime_type {
        "image/jpeg" => Some(ImageFormat::Jpeg),
        "image/png" => Some(ImageFormat::Png),
        "image/webp" => Some(ImageFormat::WebP),
        _ => None,
    }
}

/// The copies of a photo, the smallest first. Takes a while, and memory: for one photo at a time.
///
/// # Errors
/// Why there are none.
pub fn of(photo: &[u8], mime_type: &str) -> Result<Vec<Thumbnail>, Unmade> {
    let format = format_of(mime_type).ok_or(Unmade::Unsupported)?;
    let (whole, orientation) = decoded(photo, format)?;
    let mut large = fitting(whole, LARGE);
    large.apply_orientation(orientation);
    let small = if longest(&large) > SMALL { large.resize(SMALL, SMALL, FilterType::Triangle) } else { large.clone() };
    let (small, large) = (jpeg(&small)?, jpeg(&large)?);
    Ok(vec![Thumbnail { max_px: SMALL, bytes: small }, Thumbnail { max_px: LARGE, bytes: large }])
}

/// The picture, and how it is turned.
fn decoded(photo: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), Unmade> {
    let mut reader = ImageReader::with_format(Cursor::new(photo), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BESIDE);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| unmade(&error))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS || decoder.total_bytes() > MOST_BYTES {
        return Err(Unmade::TooLarge);
    }
    // What a photo says of itself may be broken, and the picture is not.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let whole = DynamicImage::from_decoder(decoder).map_err(|error| unmade(&error))?;
    Ok((whole, orientation))
}

fn unmade(error: &ImageError) -> Unmade {
    match error {
        ImageError::Limits(_) => Unmade::TooLarge,
        _ => Unmade::Unreadable,
    }
}

fn longest(picture: &DynamicImage) -> u32 {
    picture.width().max(picture.height())
}

/// No larger than that; a smaller one as it is.
fn fitting(picture: DynamicImage, max_px: u32) -> DynamicImage {
    if longest(&picture) > max_px { picture.thumbnail(max_px, max_px) } else { picture }
}

/// A JPEG has no transparency: what is behind is white.
fn jpeg(picture: &DynamicImage) -> Result<Vec<u8>, Unmade> {
    let rgba = picture.to_rgba8();
    let pixels = rgba.pixels().flat_map(|Rgba([red, green, blue, alpha])| {
        let alpha = *alpha;
        [*red, *green, *blue].map(|colour| over_white(colour, alpha))
    });
    let rgb = RgbImage::from_raw(rgba.width(), rgba.height(), pixels.collect()).ok_or(Unmade::Unreadable)?;
    let mut bytes = Vec::new();
    let encoded = JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&rgb);
    encoded.map_err(|_| Unmade::Unreadable)?;
    Ok(bytes)
}

fn over_white(colour: u8, alpha: u8) -> u8 {
    let (white, alpha) = (u16::from(u8::MAX), u16::from(alpha));
    let mixed = (u16::from(colour) * alpha + white * (white - alpha)) / white;
    u8::try_from(mixed).unwrap_or(u8::MAX)
}

#[cfg(test)]
#[path = "thumbnails_tests.rs"]
mod tests;
