//! Kakao and Naver: plain OAuth 2.0 with a profile of their own.

use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    PkceCodeVerifier, RedirectUrl, Scope, TokenResponse as _, TokenUrl, basic::BasicClient,
};
use secrecy::ExposeSecret as _;
use url::Url;

use super::{
    oidc::refused,
    options::{Kind, Resolved},
    outbound::{Failure, Outbound},
    profile::{self, Identity, Told},
    provider::Start,
};

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// A provider without discovery.
#[derive(Debug)]
pub struct Oauth {
    settings: Resolved,
    outbound: Outbound,
}

impl Oauth {
    /// Speaks to the provider of `settings`.
    #[must_use]
    pub fn new(settings: Resolved, outbound: Outbound) -> Self {
        Self { settings, outbound }
    }

    fn client(&self, redirect_uri: &str) -> Result<Client, Failure> {
        let wrong = |_| Failure::refusal("wrong_settings");
        let client = BasicClient::new(ClientId::new(self.settings.client_id.clone()))
            .set_auth_uri(AuthUrl::new(self.settings.authorization_endpoint.clone()).map_err(wrong)?)
            .set_token_uri(TokenUrl::new(self.settings.token_endpoint.clone()).map_err(wrong)?)
            .set_redirect_uri(RedirectUrl::new(redirect_uri.to_owned()).map_err(wrong)?)
            .set_auth_type(AuthType::RequestBody);
        Ok(match &self.settings.client_secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())),
            None => client,
        })
    }

    /// The address to open.
    ///
    /// # Errors
    /// When the settings are wrong.
    pub fn authorization_url(&self, start: &Start<'_>) -> Result<Url, Failure> {
        let state = CsrfToken::new(start.state.to_owned());
        let client = self.client(start.redirect_uri)?;
        let request = client.authorize_url(move || state).set_pkce_challenge(start.challenge());
        let scopes = self.settings.scopes.iter().cloned().map(Scope::new);
        Ok(request.add_scopes(scopes).url().0)
    }

    /// Trades the code and reads the profile.
    ///
    /// # Errors
    /// As the provider answers.
    pub async fn identify(&self, code: &str, start: &Start<'_>) -> Result<Identity, Failure> {
        let client = self.client(start.redirect_uri)?;
        let answer = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(start.verifier.to_owned()))
            // Naver asks for the state again; others ignore it.
            .add_extra_param("state", start.state.to_owned())
            .request_async(&self.outbound)
            .await
            .map_err(refused)?;
        let told = self.profile(answer.access_token().secret()).await?;
        told.identity(self.settings.email_trust).ok_or_else(|| Failure::transient("malformed_response"))
    }

    async fn profile(&self, token: &str) -> Result<Told, Failure> {
        let url = &self.settings.userinfo_endpoint;
        match self.settings.kind {
            Kind::Naver => self.outbound.get::<profile::Naver>(url, token).await?.told().map_err(Failure::refusal),
            Kind::Kakao | Kind::Oidc => Ok(self.outbound.get::<profile::Kakao>(url, token).await?.into()),
        }
    }
}
