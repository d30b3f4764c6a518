//! The age gate.

use coreloop_access::Caller;
use coreloop_auth_api::v1::{self, AuthReason};
use jiff::tz::TimeZone;
use secrecy::ExposeSecret as _;
use tonic::{Request, Response, metadata::MetadataMap};

use crate::{
    App, Client, Error, age,
    events::{self, Note},
    store,
};

/// `DeclareBirthDate`: sets the birth date once. It raises no age state but `unknown`.
///
/// # Errors
/// `BIRTH_DATE_ALREADY_SET`, `BIRTH_DATE_INVALID`.
pub async fn declare_birth_date(
    app: &App,
    request: Request<v1::DeclareBirthDateRequest>,
) -> Result<Response<v1::DeclareBirthDateResponse>, Error> {
    let user = Caller::of(&request)?.require_user()?.user_id;
    let client = Client::of(&request);
    let now = app.now();
    let born = age::birth_date(&request.get_ref().birth_date, now.to_zoned(TimeZone::UTC).date())?;
    let mut tx = app.begin().await?;
    let declared = store::age::declare(&mut tx, user, born, now).await?.ok_or(AuthReason::BirthDateAlreadySet)?;
    if declared.first {
        events::note(app, &mut tx, user, &client, &Note::BirthDateDeclared).await?;
    }
    tx.commit().await?;
    app.watches.changed(user);
    let age_state = match declared.state.as_str() {
        "verified" => v1::AgeState::Verified,
        "rejected" => v1::AgeState::Rejected,
        _ => v1::AgeState::Declared,
    };
    Ok(Response::new(v1::DeclareBirthDateResponse { age_state: age_state.into() }))
}

/// `ReceiveAgeVerification`: takes the provider's signed webhook, each event once.
///
/// An event about an account that is gone is taken too: the provider has done its part, and sending it again would
/// change nothing.
///
/// # Errors
/// `WEBHOOK_SIGNATURE_INVALID`, also while no secret is set; `WEBHOOK_TOO_OLD`.
pub async fn receive_age_verification(
    app: &App,
    request: Request<v1::ReceiveAgeVerificationRequest>,
) -> Result<Response<v1::ReceiveAgeVerificationResponse>, Error> {
    let secret = app.options.age_webhook_secret.as_ref().map(|secret| secret.expose_secret().as_bytes());
    let secret = secret.filter(|secret| !secret.is_empty()).ok_or(AuthReason::WebhookSignatureInvalid)?;
    let timestamp = single(request.metadata(), "x-coreloop-timestamp")?.to_owned();
    let signature = single(request.metadata(), "x-coreloop-signature")?.to_owned();
    let client = Client::of(&request);
    let body = request.into_inner().payload.unwrap_or_default().data;
    let verdict = age::webhook(secret, &timestamp, &signature, &body, app.clock.unix())?;
    let now = app.now();
    let mut tx = app.begin().await?;
    // Lock order: the account first.
    store::users::lock(&mut tx, verdict.user_id).await?;
    let first = store::age::record(&mut tx, &verdict.event_id, verdict.user_id, &verdict.result, now).await?;
    if first {
        if store::age::set_state(&mut tx, verdict.user_id, &verdict.result, now).await? {
            let note = Note::AgeDecided { result: verdict.result, event_id: verdict.event_id };
            events::note(app, &mut tx, verdict.user_id, &client, &note).await?;
        } else {
            tracing::warn!(user_id = %verdict.user_id, "age verification is about no living account");
        }
    }
    tx.commit().await?;
    app.watches.changed(verdict.user_id);
    Ok(Response::new(v1::ReceiveAgeVerificationResponse {}))
}

/// The one value of a header; several could be read differently by different parts.
fn single<'m>(metadata: &'m MetadataMap, key: &str) -> Result<&'m str, Error> {
    let mut values = metadata.get_all(key).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(AuthReason::WebhookSignatureInvalid.into()),
    }
}
