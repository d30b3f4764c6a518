//! What a provider tells of a person, each format made one [`Identity`]. Pure.

use serde::Deserialize;
use url::Url;

use super::options::EmailTrust;

/// Longest shown name.
const NICKNAME_MAX: usize = 40;
/// Longest address of an image.
const IMAGE_MAX: usize = 2_048;

/// A person as a provider knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Id at the provider; the only thing an account is found by.
    pub provider_user_id: String,
    /// Normalised address.
    pub email: Option<String>,
    /// The provider proved the address.
    pub email_verified: bool,
    /// Shown name, cut to what an account may hold.
    pub nickname: String,
    /// Profile image; empty when there is none.
    pub image: String,
}

/// What any format tells, before it is cleaned.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Id at the provider.
    pub id: String,
    /// Address.
    pub email: Option<String>,
    /// The provider calls the address proven.
    pub email_verified: bool,
    /// Name.
    pub name: Option<String>,
    /// Image.
    pub image: Option<String>,
}

impl Told {
    /// Cleans what was told. `None` when the id cannot be one.
    #[must_use]
    pub fn identity(self, trust: EmailTrust) -> Option<Identity> {
        if self.id.is_empty() || self.id.chars().count() > 255 || self.id.contains('\0') {
            return None;
        }
        let email = self.email.map(|email| crate::password::normalise_email(&email)).filter(|email| plausible(email));
        Some(Identity {
            provider_user_id: self.id,
            email_verified: email.is_some() && self.email_verified && trust == EmailTrust::Claim,
            email,
            nickname: nickname(self.name.as_deref().unwrap_or_default()),
            image: self.image.filter(|image| is_image(image)).unwrap_or_default(),
        })
    }
}

fn plausible(email: &str) -> bool {
    (3..=254).contains(&email.chars().count())
        && email
            .split_once('@')
            .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'))
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn nickname(name: &str) -> String {
    let clean: String = name.chars().filter(|c| !c.is_control()).take(NICKNAME_MAX).collect();
    let clean = clean.trim();
    if clean.is_empty() { "player".to_owned() } else { clean.to_owned() }
}

fn is_image(image: &str) -> bool {
    // PostgreSQL keeps no U+0000, which the address's rules would escape.
    image.chars().count() <= IMAGE_MAX
        && !image.contains('\0')
        && Url::parse(image).is_ok_and(|url| ["https", "http"].contains(&url.scheme()))
}

/// Kakao's `/v2/user/me`.
#[derive(Debug, Deserialize)]
pub struct Kakao {
    id: u64,
    #[serde(default)]
    kakao_account: KakaoAccount,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KakaoAccount {
    email: Option<String>,
    is_email_valid: bool,
    is_email_verified: bool,
    profile: KakaoProfile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KakaoProfile {
    nickname: Option<String>,
    profile_image_url: Option<String>,
}

impl From<Kakao> for Told {
    fn from(told: Kakao) -> Self {
        let account = told.kakao_account;
        Self {
            id: told.id.to_string(),
            email: account.email,
            // An address that was given to someone else since is not valid any more.
            email_verified: account.is_email_valid && account.is_email_verified,
            name: account.profile.nickname,
            image: account.profile.profile_image_url,
        }
    }
}

/// Naver's `/v1/nid/me`.
#[derive(Debug, Deserialize)]
pub struct Naver {
    resultcode: String,
    #[serde(default)]
    response: NaverProfile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NaverProfile {
    id: String,
    nickname: Option<String>,
    name: Option<String>,
    email: Option<String>,
    profile_image: Option<String>,
}

impl Naver {
    /// What is told, or Naver's result code when it is no success.
    ///
    /// # Errors
    /// The result code.
    pub fn told(self) -> Result<Told, String> {
        if self.resultcode != "00" {
            return Err(self.resultcode);
        }
        let profile = self.response;
        Ok(Told {
            id: profile.id,
            email: profile.email,
            email_verified: true,
            name: profile.nickname.or(profile.name),
            image: profile.profile_image,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn kakao_proves_an_address_only_when_it_is_valid_and_verified() {
        for (valid, verified, proven) in [(true, true, true), (false, true, false), (true, false, false)] {
            let body = json!({ "id": 7, "kakao_account": {
                "email": "A@Example.com", "is_email_valid": valid, "is_email_verified": verified,
                "profile": { "nickname": "n", "profile_image_url": "https://i.example.com/a.png" }
            }});
            let told: Kakao = serde_json::from_value(body).unwrap();
            let identity = Told::from(told).identity(EmailTrust::Claim).unwrap();
            assert_eq!((identity.provider_user_id.as_str(), identity.email_verified), ("7", proven));
            assert_eq!(identity.email.as_deref(), Some("a@example.com"));
        }
    }

    #[test]
    fn kakao_without_consent_tells_only_an_id() {
        let told: Kakao = serde_json::from_value(json!({ "id": 7 })).unwrap();
        let identity = Told::from(told).identity(EmailTrust::Claim).unwrap();
        assert_eq!((identity.email, identity.nickname.as_str()), (None, "player"));
    }

    #[test]
    fn naver_is_a_success_only_with_00_and_never_proves_an_address() {
        let body = json!({ "resultcode": "00", "message": "success", "response": { "id": "x", "email": "a@b.c" } });
        let told: Naver = serde_json::from_value(body).unwrap();
        assert!(!told.told().unwrap().identity(EmailTrust::Never).unwrap().email_verified);
        let refused: Naver = serde_json::from_value(json!({ "resultcode": "024", "message": "m" })).unwrap();
        assert_eq!(refused.told().unwrap_err(), "024");
    }

    #[test]
    fn an_image_that_is_no_web_address_is_dropped() {
        let told = |image: &str| Told { id: "1".into(), image: Some(image.into()), ..Told::default() };
        assert_eq!(told("javascript:alert(1)").identity(EmailTrust::Claim).unwrap().image, "");
        assert_eq!(told("https://a/b").identity(EmailTrust::Claim).unwrap().image, "https://a/b");
    }

    #[test]
    fn nothing_that_is_told_holds_u0000() {
        let text = |text: &str| Some(text.to_owned());
        let told = |id: &str| Told {
            id: id.to_owned(),
            email: text("a\0@b.c"),
            email_verified: true,
            name: text("a\0b"),
            image: text("https://a/\0"),
        };
        let identity = told("1").identity(EmailTrust::Claim).unwrap();
        assert_eq!((identity.email, identity.nickname.as_str(), identity.image.as_str()), (None, "ab", ""));
        assert_eq!(told("1\0").identity(EmailTrust::Claim), None);
    }

    proptest! {
        #[test]
        fn whatever_is_told_fits_an_account(id in ".*", name in ".*", email in ".*", image in ".*") {
            let told = Told { id, email: Some(email), email_verified: true, name: Some(name), image: Some(image) };
            if let Some(identity) = told.identity(EmailTrust::Claim) {
                prop_assert!((1..=40).contains(&identity.nickname.chars().count()));
                prop_assert!(identity.email.is_none_or(|email| (3..=254).contains(&email.chars().count())));
                prop_assert!(identity.image.chars().count() <= 2048);
            }
        }
    }
}
