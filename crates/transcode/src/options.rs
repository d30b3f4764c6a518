//! Typed readers of `coreloop.option.v1` and `google.api.http`, and the catalogue of reasons.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, MethodDescriptor, ReflectMessage as _, Value,
};

use crate::{descriptor, pb::option};

/// Who may call the RPC; none means the RPC is denied to everybody.
#[must_use]
pub fn access(method: &MethodDescriptor) -> Option<option::Access> {
    typed(method.parent_pool(), &method.options(), "access")
}

/// How often the RPC may be called.
#[must_use]
pub fn rate_limit(method: &MethodDescriptor) -> Option<option::RateLimit> {
    typed(method.parent_pool(), &method.options(), "rate_limit")
}

/// What the audit trail records of the RPC.
#[must_use]
pub fn audit(method: &MethodDescriptor) -> Option<option::Audit> {
    typed(method.parent_pool(), &method.options(), "audit")
}

/// How the REST edge treats the RPC beyond `google.api.http`.
#[must_use]
pub fn edge(method: &MethodDescriptor) -> Option<option::Edge> {
    typed(method.parent_pool(), &method.options(), "edge")
}

/// The `google.api.http` rule of the RPC.
#[must_use]
pub fn http(method: &MethodDescriptor) -> Option<DynamicMessage> {
    message(method.parent_pool(), &method.options(), "google.api.http")
}

/// How a field is handled beyond its type; all off when nothing is said.
#[must_use]
pub fn field_rule(field: &FieldDescriptor) -> option::FieldRule {
    typed(field.parent_pool(), &field.options(), "field").unwrap_or_default()
}

/// Access to services whose protos are not ours, from every file of the pool.
#[must_use]
pub fn foreign_access(pool: &DescriptorPool) -> Vec<option::ForeignAccess> {
    let Some(extension) = pool.get_extension_by_name("coreloop.option.v1.foreign_access") else { return Vec::new() };
    let mut all = Vec::new();
    for file in pool.files() {
        let options = file.options();
        if !options.has_extension(&extension) {
            continue;
        }
        if let Value::List(items) = options.get_extension(&extension).as_ref() {
            all.extend(items.iter().filter_map(Value::as_message).filter_map(|m| m.transcode_to().ok()));
        }
    }
    all
}

/// Languages of the reason catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lang {
    /// English.
    En,
    /// Korean.
    Ko,
}

impl Lang {
    /// The best of `Accept-Language` (RFC 9110, 12.5.4) that the catalogue has; none when it names neither.
    ///
    /// Equal weights keep the order of the header.
    #[must_use]
    pub fn from_accept_language(header: Option<&str>) -> Option<Self> {
        let mut best: Option<(Self, f32)> = None;
        for item in header?.split(',').take(32) {
            let mut parts = item.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let quality =
                parts.find_map(|p| p.trim().strip_prefix("q=")).map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0));
            let primary = tag.split('-').next().unwrap_or_default();
            let lang = match primary.to_ascii_lowercase().as_str() {
                "ko" => Self::Ko,
                "en" | "*" => Self::En,
                _ => continue,
            };
            if quality > 0.0 && best.is_none_or(|(_, q)| quality > q) {
                best = Some((lang, quality));
            }
        }
        best.map(|(lang, _)| lang)
    }

    /// BCP 47 tag, as LocalizedMessage carries it.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ko => "ko",
        }
    }
}

/// Text of a reason for a person, from the reason enums of the committed descriptors.
///
/// `coreloop.type.v1.Reason` is domain `coreloop`; `coreloop.<d>.v1.<D>Reason` is domain `<d>`.
#[must_use]
pub fn reason_text(domain: &str, reason: &str, lang: Lang) -> Option<&'static str> {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| catalogue(descriptor::pool()));
    let text = CATALOGUE.get(domain)?.get(reason)?;
    let chosen = match lang {
        Lang::En => &text.en,
        Lang::Ko => &text.ko,
    };
    (!chosen.is_empty()).then_some(chosen.as_str())
}

/// Domain -> reason -> text.
pub(crate) type Catalogue = HashMap<String, HashMap<String, option::ReasonText>>;

/// Reads every reason enum of a pool.
pub(crate) fn catalogue(pool: &DescriptorPool) -> Catalogue {
    let mut all = Catalogue::new();
    let Some(extension) = pool.get_extension_by_name("coreloop.option.v1.text") else { return all };
    for declared in pool.all_enums() {
        let Some((domain, prefix)) = reason_enum(&declared) else { continue };
        let reasons = all.entry(domain).or_default();
        for value in declared.values() {
            let options = value.options();
            if !options.has_extension(&extension) {
                continue;
            }
            let text = options.get_extension(&extension);
            if let Some(text) = text.as_message().and_then(|m| m.transcode_to().ok()) {
                let name = value.name();
                reasons.insert(name.strip_prefix(prefix.as_str()).unwrap_or(name).to_owned(), text);
            }
        }
    }
    all
}

/// Domain and value prefix of a reason enum; none for other enums.
fn reason_enum(declared: &EnumDescriptor) -> Option<(String, String)> {
    let package = declared.package_name().strip_prefix("coreloop.")?;
    let stem = declared.name().strip_suffix("Reason")?;
    let unspecified = declared.get_value(0)?;
    let prefix = unspecified.name().strip_suffix("UNSPECIFIED")?.to_owned();
    let domain = package.split('.').next().unwrap_or_default();
    if package == "type.v1" && stem.is_empty() {
        return Some(("coreloop".to_owned(), prefix));
    }
    (stem.to_ascii_lowercase() == domain.replace('_', "")).then(|| (domain.to_owned(), prefix))
}

fn typed<T: Message + Default>(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<T> {
    // Methods and fields have extensions of different names, so the one prefix serves both.
    message(pool, options, &format!("coreloop.option.v1.{name}"))?.transcode_to().ok()
}

fn message(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let extension = pool.get_extension_by_name(name)?;
    if extension.containing_message().full_name() != options.descriptor().full_name()
        || !options.has_extension(&extension)
    {
        return None;
    }
    options.get_extension(&extension).as_message().cloned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_method_are_read() {
        let service = descriptor::pool().get_service_by_name("coreloop.auth.v1.AuthService").unwrap();
        let signup = service.methods().find(|m| m.name() == "SignUp").unwrap();
        assert_eq!(access(&signup).unwrap().level(), option::Level::Public);
        assert_eq!(rate_limit(&signup).unwrap().windows[0].max, 10);
        assert_eq!(edge(&signup).unwrap().success_status, 201);
        assert!(http(&signup).is_some());
        assert!(audit(&signup).is_none());
    }

    #[test]
    fn foreign_services_have_access() {
        let all = foreign_access(descriptor::pool());
        let check = all.iter().find(|f| f.service == "envoy.service.auth.v3.Authorization").unwrap();
        assert!(check.access.unwrap().mesh_only);
    }

    #[test]
    fn catalogue_speaks_both_languages() {
        assert_eq!(reason_text("coreloop", "TOKEN_MISSING", Lang::En), Some("Please sign in."));
        assert_eq!(reason_text("coreloop", "TOKEN_MISSING", Lang::Ko), Some("로그인이 필요합니다."));
        assert_eq!(reason_text("coreloop", "NO_SUCH", Lang::En), None);
        assert!(reason_text("auth", "INVALID_CREDENTIALS", Lang::Ko).is_some());
    }

    #[test]
    fn accept_language_is_weighed() {
        for (header, expected) in [
            ("ko", Some(Lang::Ko)),
            ("ko-KR,en;q=0.8", Some(Lang::Ko)),
            ("en;q=0.2, ko;q=0.9", Some(Lang::Ko)),
            ("fr, de;q=0.5", None),
            ("*", Some(Lang::En)),
            ("ko;q=0", None),
            ("ko;q=x, en", Some(Lang::En)),
            ("", None),
        ] {
            assert_eq!(Lang::from_accept_language(Some(header)), expected, "{header}");
        }
        assert_eq!(Lang::from_accept_language(None), None);
    }
}
