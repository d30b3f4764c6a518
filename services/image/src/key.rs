//! Object keys: `uploads/{yyyy}/{mm}/{user_id}/{image_id}.{ext}`, made by us alone.

use coreloop_core::UserId;
use jiff::{Timestamp, tz::TimeZone};
use uuid::Uuid;

/// Formats that are taken, with the ending of their objects.
const FORMATS: [(&str, &str); 4] =
    [("image/jpeg", "jpg"), ("image/png", "png"), ("image/webp", "webp"), ("image/heic", "heic")];

/// What a key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectKey {
    /// Whose.
    pub user: UserId,
    /// Which image.
    pub image: Uuid,
    /// Its format, as `image/jpeg`.
    pub mime_type: &'static str,
    /// The whole.
    pub text: String,
}

impl ObjectKey {
    /// The key of a new image; none for a format that is not taken.
    #[must_use]
    pub fn new(user: UserId, image: Uuid, mime_type: &str, now: Timestamp) -> Option<Self> {
        let (mime_type, ending) = *FORMATS.iter().find(|(known, _)| *known == mime_type)?;
        let day = now.to_zoned(TimeZone::UTC).date();
        let text = format!("uploads/{:04}/{:02}/{user}/{image}.{ending}", day.year(), day.month());
        Some(Self { user, image, mime_type, text })
    }

    /// The key that a caller names; none when it is not one of ours, letter by letter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (root, year, month) = (parts.next()?, parts.next()?, parts.next()?);
        let (user, file) = (parts.next()?, parts.next()?);
        let (image, ending) = file.split_once('.')?;
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        if root != "uploads" || parts.next().is_some() || !digits(year, 4) || !digits(month, 2) {
            return None;
        }
        let (mime_type, _) = *FORMATS.iter().find(|(_, known)| *known == ending)?;
        let (owner, id): (UserId, Uuid) = (user.parse().ok()?, image.parse().ok()?);
        // One object has one name: no capitals, no other form of a UUID.
        let canonical = owner.to_string() == user && id.to_string() == image;
        canonical.then(|| Self { user: owner, image: id, mime_type, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "01a20341-0a30-757c-ae34-4d748a1d5220";
    const IMAGE: &str = "01a20341-0a35-73ad-b48b-72e038a8b3bf";

    #[test]
    fn what_is_made_can_be_read() {
        let now: Timestamp = "2026-03-31T23:59:59Z".parse().unwrap();
        for (mime, ending) in FORMATS {
            let key = ObjectKey::new(USER.parse().unwrap(), IMAGE.parse().unwrap(), mime, now).unwrap();
            assert_eq!(key.text, format!("uploads/2026/03/{USER}/{IMAGE}.{ending}"));
            assert_eq!(ObjectKey::parse(&key.text), Some(key));
        }
        assert_eq!(ObjectKey::new(USER.parse().unwrap(), IMAGE.parse().unwrap(), "image/gif", now), None);
    }

    #[test]
    fn what_is_not_ours_is_none() {
        let whole = format!("uploads/2026/03/{USER}/{IMAGE}.jpg");
        for wrong in [
            String::new(),
            whole.replace("uploads", "Uploads"),
            format!("/{whole}"),
            format!("{whole}/"),
            whole.replace("2026/03", "2026/3"),
            whole.replace("2026", "+026"),
            whole.replace(".jpg", ".gif"),
            whole.replace(".jpg", ""),
            whole.replace(USER, &USER.to_uppercase()),
            whole.replace(IMAGE, &IMAGE.replace('-', "")),
            whole.replace(USER, "../../etc"),
            whole.replace("/2026", "//2026"),
            whole.replace(".jpg", ".jpg%00"),
        ] {
            assert_eq!(ObjectKey::parse(&wrong), None, "{wrong}");
        }
    }
}
