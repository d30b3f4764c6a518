//! Which fields a PATCH is about.

use prost_types::FieldMask;

use crate::Error;

/// Those of `all` that a mask names; `*` is all of them, and without a mask those of which `is_set` says so.
///
/// # Errors
/// A path that names no field which can be changed.
pub fn chosen(
    mask: Option<&FieldMask>,
    all: &'static [&'static str],
    is_set: impl Fn(&str) -> bool,
) -> Result<Vec<&'static str>, Error> {
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        return Ok(all.iter().copied().filter(|field| is_set(field)).collect());
    }
    if paths == ["*"] {
        return Ok(all.to_vec());
    }
    if paths.iter().any(|path| !all.contains(&path.as_str())) {
        return Err(Error::invalid("update_mask", "names a field that is not there or cannot be changed"));
    }
    Ok(all.iter().copied().filter(|field| paths.iter().any(|path| path == field)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ALL: &[&str] = &["nickname", "bio"];

    fn named(paths: &[&str]) -> Result<Vec<&'static str>, Error> {
        let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        chosen(Some(&mask), ALL, |field| field == "bio")
    }

    #[test]
    fn a_mask_names_fields_that_can_be_changed() {
        assert_eq!(chosen(None, ALL, |field| field == "bio").unwrap(), ["bio"]);
        assert_eq!(named(&[]).unwrap(), ["bio"]);
        assert_eq!(named(&["*"]).unwrap(), ALL);
        assert_eq!(named(&["bio", "nickname", "bio"]).unwrap(), ALL);
        for wrong in [&["user_id"][..], &["nickname", "version"], &["*", "bio"], &[""], &["bio.text"]] {
            assert!(matches!(named(wrong), Err(Error::Invalid(_))), "{wrong:?}");
        }
    }
}
