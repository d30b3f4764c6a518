//! Errors as FCM words them: `{"error": {"code", "message", "status", "details"}}`.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::{Value, json};

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// Why a message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No access token, or one that is over.
    Unauthenticated,
    /// The account may not send for this project.
    Project,
    /// The app was removed from the device.
    Unregistered,
    /// The device's token is of another project.
    Stranger,
    /// The request is wrong: where, and why.
    Invalid(&'static str, &'static str),
}

impl Refusal {
    fn parts(self) -> (StatusCode, &'static str, &'static str, Value) {
        let own = |code: &str| json!([{"@type": FCM_ERROR, "errorCode": code}]);
        match self {
            Self::Unauthenticated => (
                StatusCode::UNAUTHORIZED,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
                 authentication credential.",
                json!([]),
            ),
            Self::Project => (
                StatusCode::FORBIDDEN,
                "PERMISSION_DENIED",
                "Permission 'cloudmessaging.messages.create' denied on resource (or it may not exist).",
                json!([]),
            ),
            Self::Unregistered => {
                (StatusCode::NOT_FOUND, "NOT_FOUND", "Requested entity was not found.", own("UNREGISTERED"))
            }
            Self::Stranger => {
                (StatusCode::FORBIDDEN, "PERMISSION_DENIED", "SenderId mismatch", own("SENDER_ID_MISMATCH"))
            }
            Self::Invalid(field, why) => {
                let mut details = own("INVALID_ARGUMENT");
                if let (Some(details), false) = (details.as_array_mut(), field.is_empty()) {
                    let violations = json!([{"field": field, "description": why}]);
                    details.push(json!({"@type": BAD_REQUEST, "fieldViolations": violations}));
                }
                (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", why, details)
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, name, message, details) = self.parts();
        let error = json!({"code": status.as_u16(), "message": message, "status": name, "details": details});
        (status, Json(json!({ "error": error }))).into_response()
    }
}

/// The quota of messages is used up.
pub(crate) const QUOTA: &str = r#"{"error":{"code":429,"message":"Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute'.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"QUOTA_EXCEEDED"}]}}"#;

/// An error of a status that a fault asks for.
pub(crate) fn worded(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => {
            r#"{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INVALID_ARGUMENT"}]}}"#
        }
        401 => {
            r#"{"error":{"code":401,"message":"Request had invalid authentication credentials.","status":"UNAUTHENTICATED"}}"#
        }
        403 => r#"{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED"}}"#,
        404 => {
            r#"{"error":{"code":404,"message":"Requested entity was not found.","status":"NOT_FOUND","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNREGISTERED"}]}}"#
        }
        429 => QUOTA,
        503 => {
            r#"{"error":{"code":503,"message":"The service is currently unavailable.","status":"UNAVAILABLE","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"UNAVAILABLE"}]}}"#
        }
        _ => {
            r#"{"error":{"code":500,"message":"Internal error encountered.","status":"INTERNAL","details":[{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"INTERNAL"}]}}"#
        }
    }
}
