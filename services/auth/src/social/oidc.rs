//! OpenID Connect: discovery, and ID tokens verified against the provider's JWKS with nonce (OpenID Connect Core 3.1.3.7).

use std::{sync::Arc, time::Duration};

use oauth2::{ErrorResponse, RequestTokenError};
use openidconnect::{
    AccessTokenHash, AuthType, AuthenticationFlow, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret,
    CsrfToken, DiscoveryError, EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, LocalizedClaim, Nonce,
    OAuth2TokenResponse as _, PkceCodeVerifier, RedirectUrl, Scope, SignatureVerificationError, TokenResponse as _,
    core::{
        CoreClient, CoreIdTokenClaims, CoreIdTokenVerifier, CoreJwsSigningAlgorithm, CoreProviderMetadata,
        CoreResponseType, CoreTokenResponse, CoreUserInfoClaims,
    },
};
use secrecy::ExposeSecret as _;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use super::{
    options::Resolved,
    outbound::{Failure, Outbound},
    profile::{Identity, Told},
    provider::Start,
};

type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// Time after which metadata and keys are read again.
const FRESH: Duration = Duration::from_secs(3_600);
/// Least time between two readings that an unknown key causes.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(10);

/// Algorithms an ID token may be signed with: asymmetric ones only, so no public text is ever a secret (RFC 8725, 2.1).
const ALGORITHMS: [CoreJwsSigningAlgorithm; 4] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EdDsa,
];

#[derive(Debug)]
struct Found {
    metadata: CoreProviderMetadata,
    at: Instant,
}

/// An OpenID provider.
#[derive(Debug)]
pub struct Oidc {
    settings: Resolved,
    outbound: Outbound,
    found: Mutex<Option<Arc<Found>>>,
}

impl Oidc {
    /// Speaks to the provider of `settings`; it is discovered when it is first needed.
    #[must_use]
    pub fn new(settings: Resolved, outbound: Outbound) -> Self {
        Self { settings, outbound, found: Mutex::new(None) }
    }

    /// Metadata and keys, read again when they are older than `oldest`. One reading at a time. Should it fail, older
    /// ones go on serving.
    async fn discovered(&self, oldest: Duration) -> Result<Arc<Found>, Failure> {
        let mut slot = self.found.lock().await;
        if let Some(found) = slot.as_ref().filter(|found| found.at.elapsed() < oldest) {
            return Ok(Arc::clone(found));
        }
        let issuer = IssuerUrl::new(self.settings.issuer.clone()).map_err(|_| Failure::refusal("wrong_settings"))?;
        match (CoreProviderMetadata::discover_async(issuer, &self.outbound).await, slot.as_ref()) {
            (Ok(metadata), _) => {
                let found = Arc::new(Found { metadata, at: Instant::now() });
                *slot = Some(Arc::clone(&found));
                Ok(found)
            }
            (Err(_), Some(older)) => Ok(Arc::clone(older)),
            (Err(DiscoveryError::Request(failure)), None) => Err(failure),
            (Err(error), None) => {
                tracing::warn!(provider = %self.settings.name, %error, "discovery cannot be read");
                Err(Failure::transient("discovery_failed"))
            }
        }
    }

    fn client(&self, found: &Found, redirect_uri: &str) -> Result<Client, Failure> {
        let secret = self.settings.client_secret.as_ref();
        let redirect_uri = RedirectUrl::new(redirect_uri.to_owned()).map_err(|_| Failure::refusal("wrong_settings"))?;
        Ok(CoreClient::from_provider_metadata(
            found.metadata.clone(),
            ClientId::new(self.settings.client_id.clone()),
            secret.map(|secret| ClientSecret::new(secret.expose_secret().to_owned())),
        )
        .set_redirect_uri(redirect_uri)
        .set_auth_type(AuthType::RequestBody))
    }

    /// The address to open.
    ///
    /// # Errors
    /// When the provider cannot be discovered.
    pub async fn authorization_url(&self, start: &Start<'_>) -> Result<Url, Failure> {
        let found = self.discovered(FRESH).await?;
        let (state, nonce) = (CsrfToken::new(start.state.to_owned()), Nonce::new(start.nonce.to_owned()));
        let client = self.client(&found, start.redirect_uri)?;
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let request = client.authorize_url(flow, move || state, move || nonce).set_pkce_challenge(start.challenge());
        let scopes = self.settings.scopes.iter().cloned().map(Scope::new);
        Ok(scopes.fold(request, |request, scope| request.add_scope(scope)).url().0)
    }

    /// Trades the code, verifies the ID token and reads who signed in.
    ///
    /// # Errors
    /// As the provider answers; `id_token_…` when the token cannot be accepted.
    pub async fn identify(&self, code: &str, start: &Start<'_>) -> Result<Identity, Failure> {
        let found = self.discovered(FRESH).await?;
        let client = self.client(&found, start.redirect_uri)?;
        let answer = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|_| Failure::transient("discovery_failed"))?
            .set_pkce_verifier(PkceCodeVerifier::new(start.verifier.to_owned()))
            .request_async(&self.outbound)
            .await
            .map_err(refused)?;
        let nonce = Nonce::new(start.nonce.to_owned());
        let claims = match verified(&client, &answer, &nonce) {
            Err(Refusal::UnknownKey) => {
                let found = self.discovered(UNKNOWN_KEY_PAUSE).await?;
                verified(&self.client(&found, start.redirect_uri)?, &answer, &nonce)
            }
            other => other,
        };
        let claims = claims.map_err(|refusal| {
            tracing::warn!(provider = %self.settings.name, error_code = refusal.code(), "id token refused");
            Failure::refusal(refusal.code())
        })?;
        let mut told = told(&claims);
        if told.email.is_none() {
            self.ask_userinfo(&client, &answer, &claims, &mut told).await?;
        }
        told.identity(self.settings.email_trust).ok_or_else(|| Failure::refusal("id_token_subject"))
    }

    /// Providers may tell the address only at the userinfo endpoint; it must be about the same subject.
    async fn ask_userinfo(
        &self,
        client: &Client,
        answer: &CoreTokenResponse,
        claims: &CoreIdTokenClaims,
        told: &mut Told,
    ) -> Result<(), Failure> {
        let subject = claims.subject().clone();
        let Ok(request) = client.user_info(answer.access_token().clone(), Some(subject)) else {
            return Ok(());
        };
        let info: CoreUserInfoClaims = request.request_async(&self.outbound).await.map_err(|error| match error {
            openidconnect::UserInfoError::Request(failure) => failure,
            _ => Failure::refusal("userinfo_invalid"),
        })?;
        told.email = info.email().map(|email| email.to_string());
        told.email_verified = info.email_verified().unwrap_or(false);
        Ok(())
    }
}

/// Why an ID token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Missing,
    UnknownKey,
    Signature,
    Expired,
    Audience,
    Issuer,
    Nonce,
    AccessTokenHash,
    Other,
}

impl Refusal {
    fn code(self) -> &'static str {
        match self {
            Self::Missing => "id_token_missing",
            Self::UnknownKey => "id_token_key",
            Self::Signature => "id_token_signature",
            Self::Expired => "id_token_expired",
            Self::Audience => "id_token_audience",
            Self::Issuer => "id_token_issuer",
            Self::Nonce => "id_token_nonce",
            Self::AccessTokenHash => "id_token_access_token_hash",
            Self::Other => "id_token_invalid",
        }
    }
}

impl From<ClaimsVerificationError> for Refusal {
    fn from(error: ClaimsVerificationError) -> Self {
        match error {
            ClaimsVerificationError::Expired(_) => Self::Expired,
            ClaimsVerificationError::InvalidAudience(_) => Self::Audience,
            ClaimsVerificationError::InvalidIssuer(_) => Self::Issuer,
            ClaimsVerificationError::InvalidNonce(_) => Self::Nonce,
            ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => {
                Self::UnknownKey
            }
            ClaimsVerificationError::SignatureVerification(_) => Self::Signature,
            _ => Self::Other,
        }
    }
}

fn verified(client: &Client, answer: &CoreTokenResponse, nonce: &Nonce) -> Result<CoreIdTokenClaims, Refusal> {
    let token = answer.id_token().ok_or(Refusal::Missing)?;
    let verifier: CoreIdTokenVerifier<'_> = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
    let claims = token.claims(&verifier, nonce)?;
    if let Some(told) = claims.access_token_hash() {
        let algorithm = token.signing_alg().map_err(|_| Refusal::AccessTokenHash)?;
        let key = token.signing_key(&verifier).map_err(|_| Refusal::AccessTokenHash)?;
        let hash = AccessTokenHash::from_token(answer.access_token(), algorithm, key);
        if hash.map_err(|_| Refusal::AccessTokenHash)? != *told {
            return Err(Refusal::AccessTokenHash);
        }
    }
    Ok(claims.clone())
}

fn told(claims: &CoreIdTokenClaims) -> Told {
    fn first<T>(claim: &LocalizedClaim<T>) -> Option<&T> {
        claim.get(None).or_else(|| claim.iter().next().map(|(_, value)| value))
    }
    Told {
        id: claims.subject().to_string(),
        email: claims.email().map(|email| email.to_string()),
        email_verified: claims.email_verified().unwrap_or(false),
        name: claims.name().and_then(first).map(|name| name.to_string()),
        image: claims.picture().and_then(first).map(|picture| picture.to_string()),
    }
}

/// What a failed token request means. Answers with an error status never get here: [`Outbound`] has read them. What is
/// left is JSON that is no token, which asking again would not change.
pub(crate) fn refused<T: ErrorResponse + 'static>(error: RequestTokenError<Failure, T>) -> Failure {
    match error {
        RequestTokenError::Request(failure) => failure,
        _ => Failure::refusal("malformed_response"),
    }
}
