//! People who sign in. Ids at a provider follow from the persona's name, so they are the same after a restart.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::secret;

/// Most personas kept.
const MOST: usize = 10_000;

/// A person with an account at every provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Persona {
    /// Name of the persona, as `alice`.
    pub(crate) id: String,
    /// Address; absent: the provider tells none.
    pub(crate) email: Option<String>,
    /// The provider proved the address.
    pub(crate) email_verified: bool,
    /// Shown name.
    pub(crate) name: String,
    /// Profile image.
    pub(crate) picture: String,
    /// The person cancels at the provider's page.
    pub(crate) denies: bool,
}

/// What of a persona is set; what is absent stays. An empty `email` removes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    id: String,
    email: Option<String>,
    email_verified: Option<bool>,
    name: Option<String>,
    picture: Option<String>,
    denies: Option<bool>,
}

impl Persona {
    fn named(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            email: Some(format!("{id}@example.com")),
            email_verified: true,
            name: id.to_owned(),
            picture: format!("https://images.example.com/{id}.png"),
            denies: false,
        }
    }

    /// Google's `sub`: 21 digits.
    pub(crate) fn google_sub(&self) -> String {
        format!("1{:020}", secret::stable_number(&format!("google:{}", self.id)))
    }

    /// Kakao's `id`: a positive number.
    pub(crate) fn kakao_id(&self) -> u64 {
        1_000_000_000 + secret::stable_number(&format!("kakao:{}", self.id)) % 4_000_000_000
    }

    /// Naver's `id`: 43 characters of base64url.
    pub(crate) fn naver_id(&self) -> String {
        secret::s256(&format!("naver:{}", self.id))
    }
}

/// Whether a text may name a persona.
pub(crate) fn is_name(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
}

/// The personas there are: a few known ones, and whoever is named first.
#[derive(Debug)]
pub(crate) struct Personas(HashMap<String, Persona>);

impl Default for Personas {
    fn default() -> Self {
        let known = ["alice", "bob", "carol"].map(|id| (id.to_owned(), Persona::named(id)));
        Self(HashMap::from(known))
    }
}

impl Personas {
    /// The persona `id`, made when it is new. `None` when `id` names nobody: `login_hint` may be an address, whose part
    /// before the `@` names the persona.
    pub(crate) fn find(&mut self, id: &str) -> Option<Persona> {
        let id = id.split('@').next().unwrap_or_default();
        if !is_name(id) || (self.0.len() >= MOST && !self.0.contains_key(id)) {
            return None;
        }
        Some(self.0.entry(id.to_owned()).or_insert_with(|| Persona::named(id)).clone())
    }

    /// Sets what `change` names.
    pub(crate) fn set(&mut self, change: Change) -> Option<Persona> {
        let mut persona = self.find(&change.id)?;
        if let Some(email) = change.email {
            persona.email = (!email.is_empty()).then_some(email);
        }
        persona.email_verified = change.email_verified.unwrap_or(persona.email_verified);
        persona.name = change.name.unwrap_or(persona.name);
        persona.picture = change.picture.unwrap_or(persona.picture);
        persona.denies = change.denies.unwrap_or(persona.denies);
        self.0.insert(persona.id.clone(), persona.clone());
        Some(persona)
    }

    /// Every persona, by name.
    pub(crate) fn all(&self) -> Vec<Persona> {
        let mut all: Vec<_> = self.0.values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }
}
