//! Draws the sample photos: `cargo run -p coreloop-sandbox --example photos`.
//!
//! Scenes rather than plain colours, so that what takes them for photos (a thumbnailer, a person at a demo) has something to
//! show; what lies in the middle has the colour that the vision model decides by, in the middle of its sector. The same code
//! draws the same pixels each time.

use std::{error::Error, path::Path};

use image::{Rgb, RgbImage};

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;
/// Where the table begins.
const TABLE: f64 = 176.0;

/// A colour: hue in degrees, saturation, value.
type Hsv = (f64, f64, f64);
/// What a scene shows at a place, if anything stands there.
type Thing = fn(f64, f64) -> Option<Hsv>;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("photos");
    let scenes: [(&str, Thing, f64); 6] = [
        ("bottle.jpg", bottle, 1.0),
        ("can.png", can, 1.0),
        ("jar.webp", jar, 1.0),
        ("box.jpg", carton, 1.0),
        // The bottle again, with the light off.
        ("night.jpg", bottle, 0.1),
        ("wall.webp", wall, 1.0),
    ];
    for (name, thing, light) in scenes {
        let photo = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
            let (x, y) = (f64::from(x), f64::from(y));
            let (hue, saturation, value) = thing(x, y).unwrap_or_else(|| room(x, y));
            rgb((hue, saturation, value * light))
        });
        photo.save(folder.join(name))?;
    }
    Ok(())
}

/// Middle of a category's sector.
fn hue_of(place: f64) -> f64 {
    (place + 0.5) * 360.0 / 13.0
}

/// A wall in daylight and a wooden table.
fn room(x: f64, y: f64) -> Hsv {
    if y < TABLE {
        (200.0, 0.06, steps(0.86 - 0.25 * (x / f64::from(WIDTH))))
    } else {
        let board = if (y - TABLE) % 22.0 < 2.0 { 0.35 } else { 0.52 };
        (28.0, 0.5, steps(board + 0.1 * (y - TABLE) / 64.0))
    }
}

/// A green bottle with a blue cap.
fn bottle(x: f64, y: f64) -> Option<Hsv> {
    let wide = match y {
        y if y < 22.0 => return None,
        y if y < 36.0 => return round(x, 15.0, (215.0, 0.7, 0.8)),
        y if y < 58.0 => 12.0,
        y if y < 88.0 => 12.0 + 24.0 * ((y - 58.0) / 30.0),
        y if y < 204.0 => 36.0,
        _ => return None,
    };
    round(x, wide, (hue_of(4.0), 0.62, 0.88))
}

/// A blue can with a bright rim.
fn can(x: f64, y: f64) -> Option<Hsv> {
    match y {
        y if !(62.0..200.0).contains(&y) => None,
        y if !(70.0..194.0).contains(&y) => round(x, 40.0, (210.0, 0.04, 0.92)),
        _ => round(x, 44.0, (hue_of(8.0), 0.72, 0.9)),
    }
}

/// A jar of bluish glass with a red lid.
fn jar(x: f64, y: f64) -> Option<Hsv> {
    match y {
        y if !(54.0..202.0).contains(&y) => None,
        y if y < 78.0 => round(x, 44.0, (2.0, 0.75, 0.75)),
        y if y < 90.0 => round(x, 42.0, (hue_of(7.0), 0.3, 0.95)),
        _ => round(x, 52.0, (hue_of(7.0), 0.45, 0.95)),
    }
}

/// A cardboard box with tape, seen from a corner.
fn carton(x: f64, y: f64) -> Option<Hsv> {
    if !(84.0..300.0).contains(&x) || !(58.0..206.0).contains(&y) {
        return None;
    }
    let tape = (58.0..80.0).contains(&y) && (140.0..166.0).contains(&x);
    let value = if x < 236.0 { 0.8 } else { 0.6 };
    Some(if tape { (hue_of(1.0), 0.25, 0.9) } else { (hue_of(1.0), 0.5, steps(value - (y - 58.0) / 1500.0)) })
}

/// Bricks of concrete: nothing that could be told.
fn wall(x: f64, y: f64) -> Option<Hsv> {
    let row = (y / 30.0).floor();
    let along = x + 35.0 * (row % 2.0);
    let joint = y % 30.0 < 3.0 || along % 70.0 < 3.0;
    Some((30.0, 0.04, if joint { 0.45 } else { 0.6 + 0.05 * ((along / 70.0).floor() % 2.0) }))
}

/// What is round about the middle, `wide` to each side: light from the left.
fn round(x: f64, wide: f64, (hue, saturation, value): Hsv) -> Option<Hsv> {
    let away = (x - f64::from(WIDTH) / 2.0) / wide;
    (away.abs() <= 1.0).then(|| (hue, saturation, steps(value * (1.0 - 0.35 * (away + 0.3).powi(2)))))
}

/// Few shades: the files stay small.
fn steps(value: f64) -> f64 {
    (value * 48.0).round() / 48.0
}

fn rgb((hue, saturation, value): Hsv) -> Rgb<u8> {
    let channel = |turn: f64| {
        let sixths = (turn + hue / 60.0).rem_euclid(6.0);
        let share = value - value * saturation * sixths.min(4.0 - sixths).clamp(0.0, 1.0);
        (share * 255.0).round() as u8
    };
    Rgb([channel(5.0), channel(3.0), channel(1.0)])
}
