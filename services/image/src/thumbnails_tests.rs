use image::{GenericImageView as _, Rgb, RgbaImage};

use super::*;

const RED: Rgb<u8> = Rgb([230, 20, 20]);
const BLUE: Rgb<u8> = Rgb([20, 20, 230]);

/// Red on the left, blue on the right.
fn halves(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { RED } else { BLUE })
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG that says that the camera was turned so.
fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff = [b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0];
    let mut said = vec![0xff, 0xe1, 0, u8::try_from(2 + 6 + tiff.len()).unwrap()];
    said.extend(b"Exif\0\0");
    said.extend(tiff);
    [&jpeg[..2], said.as_slice(), &jpeg[2..]].concat()
}

fn seen(thumbnail: &Thumbnail) -> DynamicImage {
    image::load_from_memory_with_format(&thumbnail.bytes, ImageFormat::Jpeg).unwrap()
}

/// More red than blue there.
fn is_red(picture: &DynamicImage, x: u32, y: u32) -> bool {
    let Rgba([red, _, blue, _]) = picture.get_pixel(x, y);
    red > blue
}

#[test]
fn copies_fit_and_keep_their_shape_in_every_format() {
    for (format, mime) in
        [(ImageFormat::Jpeg, "image/jpeg"), (ImageFormat::Png, "image/png"), (ImageFormat::WebP, "image/webp")]
    {
        let copies = of(&encoded(&halves(1_200, 600), format), mime).unwrap();
        let sizes: Vec<_> = copies.iter().map(|copy| (copy.max_px, seen(copy).dimensions())).collect();
        assert_eq!(sizes, [(256, (256, 128)), (1_024, (1_024, 512))], "{mime}");
        for copy in &copies {
            let picture = seen(copy);
            let (right, middle) = (picture.width() - 1, picture.height() / 2);
            assert!(is_red(&picture, 0, middle) && !is_red(&picture, right, middle), "{mime}");
        }
    }
}

#[test]
fn a_small_photo_is_not_blown_up() {
    let copies = of(&encoded(&halves(300, 200), ImageFormat::Png), "image/png").unwrap();
    let sizes: Vec<_> = copies.iter().map(|copy| seen(copy).dimensions()).collect();
    assert_eq!(sizes, [(256, 171), (300, 200)]);
}

#[test]
fn a_copy_is_upright_and_says_nothing_of_the_camera() {
    let photo = turned(&encoded(&halves(80, 40), ImageFormat::Jpeg), 6);
    let copy = seen(&of(&photo, "image/jpeg").unwrap()[0]);
    // Turned to the right: what was left is above.
    assert_eq!(copy.dimensions(), (40, 80));
    assert!(is_red(&copy, 20, 2) && !is_red(&copy, 20, 77));
    for copy in of(&photo, "image/jpeg").unwrap() {
        assert!(!copy.bytes.windows(4).any(|window| window == b"Exif"));
    }
}

#[test]
fn what_is_behind_a_transparent_photo_is_white() {
    let clear = RgbaImage::from_pixel(8, 8, Rgba([0, 0, 0, 0]));
    let mut bytes = Cursor::new(Vec::new());
    clear.write_to(&mut bytes, ImageFormat::Png).unwrap();
    let copy = seen(&of(bytes.get_ref(), "image/png").unwrap()[0]);
    let Rgba([red, green, blue, _]) = copy.get_pixel(4, 4);
    assert!(red > 250 && green > 250 && blue > 250, "{red} {green} {blue}");
}

/// A PNG of nothing but a header that says how large it is.
fn boasting(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for chunk in [chunk, b"IDAT\x78\x9c\x03\x00\x00\x00\x00\x01".to_vec(), b"IEND".to_vec()] {
        png.extend(u32::try_from(chunk.len() - 4).unwrap().to_be_bytes());
        png.extend(&chunk);
        png.extend(crc(&chunk).to_be_bytes());
    }
    png
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn what_is_no_picture_or_too_large_a_one_has_no_copies() {
    let png = encoded(&halves(64, 64), ImageFormat::Png);
    let unmade = |bytes: &[u8], mime: &str| of(bytes, mime).unwrap_err();
    assert_eq!(unmade(b"not a photo", "image/jpeg"), Unmade::Unreadable);
    assert_eq!(unmade(b"", "image/webp"), Unmade::Unreadable);
    assert_eq!(unmade(&png, "image/jpeg"), Unmade::Unreadable);
    assert_eq!(unmade(&png[..png.len() / 2], "image/png"), Unmade::Unreadable);
    assert_eq!(unmade(&boasting(8_000, 5_001), "image/png"), Unmade::TooLarge);
    // It is as large as may be, and there is nothing of it.
    assert_eq!(unmade(&boasting(8_000, 5_000), "image/png"), Unmade::Unreadable);
    assert_eq!(unmade(&png, "image/heic"), Unmade::Unsupported);
    assert_eq!(Unmade::TooLarge.to_string(), "TOO_LARGE");
}

#[test]
fn copies_have_places_of_their_own() {
    let key = "uploads/2026/03/u/i.png";
    assert_eq!(SIZES.map(|px| key_of(key, px)), ["thumbnails/2026/03/u/i/256.jpg", "thumbnails/2026/03/u/i/1024.jpg"]);
}
