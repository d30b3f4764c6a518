//! The authorize step that the providers share: who signs in, and the way back.

use std::fmt::Write as _;

use axum::response::{Html, IntoResponse as _, Response};
use http::{StatusCode, header};
use serde::Deserialize;
use url::Url;

use crate::{
    grant::{self, Code},
    options::Client,
    persona::Persona,
    state::State,
};

/// Parameters of an authorize address (RFC 6749, RFC 7636, OpenID Connect Core).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Authorize {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    scope: String,
    state: String,
    nonce: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    login_hint: Option<String>,
    persona: Option<String>,
}

/// Why an authorize address is refused on the provider's own page: the browser is not sent back to an address that is
/// not known to be the application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRequest {
    /// No such application.
    Client,
    /// Not a registered redirect URI.
    RedirectUri,
}

impl Authorize {
    fn client<'s>(&self, provider: &str, state: &'s State) -> Result<&'s Client, BadRequest> {
        let client = state.client(provider, &self.client_id).ok_or(BadRequest::Client)?;
        if self.redirect_uri.is_empty() || !grant::registered(client, &self.redirect_uri) {
            return Err(BadRequest::RedirectUri);
        }
        Ok(client)
    }

    /// Signs the chosen persona in and sends the browser back, or shows the page to choose on.
    ///
    /// # Errors
    /// When the application or its redirect URI is not known.
    pub(crate) fn answer(self, provider: &'static str, path: &str, state: &State) -> Result<Response, BadRequest> {
        self.client(provider, state)?;
        let mut back = Url::parse(&self.redirect_uri).map_err(|_| BadRequest::RedirectUri)?;
        if self.response_type != "code" {
            return Ok(send_back(back, &[("error", "unsupported_response_type"), ("state", &self.state)]));
        }
        if self.code_challenge.is_some() && self.code_challenge_method.as_deref() != Some("S256") {
            return Ok(send_back(back, &[("error", "invalid_request"), ("state", &self.state)]));
        }
        let hint = self.persona.as_deref().or(self.login_hint.as_deref()).filter(|hint| !hint.is_empty());
        let named = hint.or(Some(state.options.auto_persona.as_str()).filter(|auto| !auto.is_empty()));
        let Some(persona) = named.and_then(|name| state.personas().find(name)) else {
            return Ok(self.page(path, &state.personas().all()));
        };
        if persona.denies {
            back.query_pairs_mut().append_pair("error_description", "user denied access");
            return Ok(send_back(back, &[("error", "access_denied"), ("state", &self.state)]));
        }
        let code = state.codes().issue(Code {
            provider,
            client_id: self.client_id,
            redirect_uri: self.redirect_uri,
            challenge: self.code_challenge,
            nonce: self.nonce,
            scope: self.scope,
            state: self.state.clone(),
            persona: persona.id,
            expires_at: state.now() + state.options.code_ttl_secs,
        });
        Ok(send_back(back, &[("code", &code), ("state", &self.state)]))
    }

    fn page(&self, path: &str, personas: &[Persona]) -> Response {
        let mut page = String::from("<!doctype html><meta charset=utf-8><title>Sandbox sign-in</title>");
        page.push_str("<h1>Who signs in?</h1><form method=get action=\"");
        let _ = write!(page, "{}\">", escape(path));
        let fields = [
            ("response_type", Some(&self.response_type)),
            ("client_id", Some(&self.client_id)),
            ("redirect_uri", Some(&self.redirect_uri)),
            ("scope", Some(&self.scope)),
            ("state", Some(&self.state)),
            ("nonce", self.nonce.as_ref()),
            ("code_challenge", self.code_challenge.as_ref()),
            ("code_challenge_method", self.code_challenge_method.as_ref()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                let _ = write!(page, "<input type=hidden name={name} value=\"{}\">", escape(value));
            }
        }
        for persona in personas {
            let id = escape(&persona.id);
            let _ = write!(page, "<p><button name=persona value=\"{id}\">{id}</button>");
        }
        page.push_str("</form>");
        ([(header::CACHE_CONTROL, "no-store")], Html(page)).into_response()
    }
}

fn send_back(mut to: Url, pairs: &[(&str, &str)]) -> Response {
    to.query_pairs_mut().extend_pairs(pairs);
    (StatusCode::FOUND, [(header::LOCATION, to.to_string()), (header::CACHE_CONTROL, "no-store".to_owned())])
        .into_response()
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, char| {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_cannot_be_broken_out_of() {
        assert_eq!(escape("\"><script>'&"), "&quot;&gt;&lt;script&gt;&#39;&amp;");
    }
}
