//! Sample photos, drawn for this repository by `examples/photos.rs` and under its licence.
//!
//! What the vision model says of each follows from the rule that [`crate::Sandbox`]'s model goes by. There is none in HEIC:
//! nothing that may be linked here writes it.

/// A sample photo.
#[derive(Clone, Copy, Debug)]
pub struct Photo {
    /// File name.
    pub name: &'static str,
    /// MIME type.
    pub mime_type: &'static str,
    /// The file.
    pub bytes: &'static [u8],
    /// What the model says it is.
    pub category: &'static str,
    /// Whether the model is sure (0.6 and more).
    pub sure: bool,
}

macro_rules! photo {
    ($name:literal, $mime_type:literal, $category:literal, $sure:literal) => {
        Photo {
            name: $name,
            mime_type: $mime_type,
            bytes: include_bytes!(concat!("../photos/", $name)),
            category: $category,
            sure: $sure,
        }
    };
}

/// Every sample photo.
pub const PHOTOS: &[Photo] = &[
    photo!("bottle.jpg", "image/jpeg", "pet", true),
    photo!("can.png", "image/png", "can", true),
    photo!("jar.webp", "image/webp", "glass", true),
    photo!("box.jpg", "image/jpeg", "paper", true),
    photo!("night.jpg", "image/jpeg", "general", false),
    photo!("wall.webp", "image/webp", "unknown", false),
];
