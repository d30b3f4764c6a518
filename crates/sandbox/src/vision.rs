//! A vision model that looks at the bytes: what a photo shows is decided by its colour, so that anybody can make a photo of
//! any category and a test knows the answer before it asks.
//!
//! The rule, over the mean colour (sRGB, alpha left out) of the **middle tenth** of the photo (a tenth of its width by a tenth
//! of its height, at least one pixel; turning a photo does not change it):
//!
//! | mean colour | category | confidence |
//! |---|---|---|
//! | black: the brightest channel below 0.12 | general | 0.30, too low to earn anything |
//! | white: the darkest channel above 0.92 | none: the model answers a sentence instead of JSON | – |
//! | grey: saturation (HSV) below 0.15 | unknown | 0.5 + saturation / 2 |
//! | else | by hue: 13 equal sectors in the order general, paper, paperpack, plastic, pet, vinyl, styrofoam, glass, can, battery, clothes, electronics, food | 0.5 + saturation / 2 |
//! | cannot be decoded (HEIC, or no picture) | by the SHA-256 of the bytes, its first eight bytes modulo 13 | 0.80 |
//!
//! A real provider refuses what it cannot decode; this one answers, so that a HEIC photo can be tried at all: no decoder of it
//! is free enough to be linked. The hue in the middle of a sector is 27.7° × (place + 0.5): it survives JPEG.

use std::io::Cursor;

use image::{GenericImageView as _, ImageReader, Limits};

use crate::{
    secret,
    waste::{BY_HUE, Category, UNKNOWN},
};

/// Longest side of a photo that is decoded.
const LONGEST_SIDE: u32 = 10_000;
/// Most memory that decoding one takes, in bytes.
const MOST_MEMORY: u64 = 192 << 20;

/// What the model sees.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A category, how sure it is.
    Thing(&'static Category, f64),
    /// Nothing that it could put into JSON.
    Nonsense,
}

/// Looks at the bytes of a photo. Takes tens of milliseconds of CPU: not for an async thread.
pub(crate) fn look(bytes: &[u8]) -> Seen {
    match middle(bytes) {
        Some(colour) => decide(colour),
        None => by_digest(bytes),
    }
}

/// The mean colour of the middle tenth, each channel 0 to 1; none when it cannot be decoded within the bounds.
fn middle(bytes: &[u8]) -> Option<[f64; 3]> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let photo = reader.decode().ok()?;
    let (width, height) = photo.dimensions();
    let (wide, high) = ((width / 10).max(1), (height / 10).max(1));
    let part = photo.crop_imm((width - wide) / 2, (height - high) / 2, wide, high).to_rgb8();
    let mut sums = [0.0; 3];
    for pixel in part.pixels() {
        for (sum, channel) in sums.iter_mut().zip(pixel.0) {
            *sum += f64::from(channel);
        }
    }
    let most = 255.0 * f64::from(wide) * f64::from(high);
    Some(sums.map(|sum| sum / most))
}

fn decide([red, green, blue]: [f64; 3]) -> Seen {
    let (brightest, darkest) = (red.max(green).max(blue), red.min(green).min(blue));
    if brightest < 0.12 {
        return BY_HUE.first().map_or(Seen::Nonsense, |general| Seen::Thing(general, 0.3));
    }
    if darkest > 0.92 {
        return Seen::Nonsense;
    }
    let spread = brightest - darkest;
    let saturation = spread / brightest;
    let confidence = ((0.5 + saturation / 2.0) * 10_000.0).round() / 10_000.0;
    if saturation < 0.15 {
        return Seen::Thing(&UNKNOWN, confidence);
    }
    // HSV: sixths of the circle, counted from red.
    let sixths = if brightest <= red {
        ((green - blue) / spread).rem_euclid(6.0)
    } else if brightest <= green {
        (blue - red) / spread + 2.0
    } else {
        (red - green) / spread + 4.0
    };
    let sector = (sixths / 6.0 * 13.0).floor() as usize;
    Seen::Thing(BY_HUE.get(sector).unwrap_or(&UNKNOWN), confidence)
}

fn by_digest(bytes: &[u8]) -> Seen {
    let sector = secret::number_of(bytes) % 13;
    let category = usize::try_from(sector).ok().and_then(|sector| BY_HUE.get(sector));
    Seen::Thing(category.unwrap_or(&UNKNOWN), 0.8)
}
