//! The age gate.

use coreloop_auth_api::v1;
use tonic::{Request, Response};

use crate::{App, Error};

/// `DeclareBirthDate`.
///
/// # Errors
/// As the contract lists.
pub async fn declare_birth_date(
    _app: &App,
    _request: Request<v1::DeclareBirthDateRequest>,
) -> Result<Response<v1::DeclareBirthDateResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}

/// `ReceiveAgeVerification`.
///
/// # Errors
/// As the contract lists.
pub async fn receive_age_verification(
    _app: &App,
    _request: Request<v1::ReceiveAgeVerificationRequest>,
) -> Result<Response<v1::ReceiveAgeVerificationResponse>, Error> {
    Err(Error::Internal("not built yet".to_owned()))
}
