//! Settings of the sandbox (section `sandbox`).

use serde::{Deserialize, Serialize};
use serde_json::json;

/// An application registered at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Provider: `google`, `kakao` or `naver`.
    pub provider: String,
    /// Client id.
    pub id: String,
    /// Client secret; empty: the provider asks for none (Kakao allows it).
    #[serde(default)]
    pub secret: String,
    /// Redirect URIs, compared exactly; empty: any.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
}

/// Settings of the sandbox. The defaults are public knowledge: they guard nothing and name only stand-ins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where the sandbox is reached, without a slash at the end; empty: the listener's address.
    pub base_url: String,
    /// Persona that signs in when an authorize address names none; empty: a page to choose on.
    pub auto_persona: String,
    /// Life of an authorization code in seconds.
    pub code_ttl_secs: i64,
    /// Registered applications.
    pub clients: Vec<Client>,
    /// Key that the mail API expects as bearer.
    pub mail_api_key: String,
    /// Key that the vendor of vouchers expects as bearer.
    pub vendor_api_key: String,
    /// Secret that the age provider signs its webhooks with.
    pub age_webhook_secret: String,
    /// Key that the payment service expects as bearer.
    pub payment_api_key: String,
    /// Secret that the payment service signs its webhooks with.
    pub payment_webhook_secret: String,
    /// Access key of the S3 store.
    pub s3_access_key_id: String,
    /// Its secret.
    pub s3_access_key_secret: String,
    /// Buckets of the S3 store, there from the start: 3 to 63 of a-z, 0-9 and `-`.
    pub s3_buckets: Vec<String>,
    /// Key that the vision and chat model expects as bearer.
    pub openai_api_key: String,
    /// Key that Kakao Local expects as `KakaoAK`.
    pub kakao_local_key: String,
    /// Project of the push gateway.
    pub fcm_project: String,
    /// Name of the service account that may push.
    pub fcm_client_email: String,
    /// Its RSA key in PEM (PKCS #8); the sandbox uses the public half alone.
    pub fcm_private_key: String,
}

impl Options {
    /// The key file of the service account that may push, as Google gives it, for a sandbox at `base`.
    #[must_use]
    pub fn fcm_service_account(&self, base: &str) -> String {
        json!({
            "type": "service_account",
            "project_id": self.fcm_project,
            "private_key_id": "sandbox-fcm-1",
            "private_key": self.fcm_private_key,
            "client_email": self.fcm_client_email,
            "token_uri": format!("{base}/fcm/token"),
        })
        .to_string()
    }
}

impl Default for Options {
    fn default() -> Self {
        let client = |provider: &str, name: &str| Client {
            provider: provider.to_owned(),
            id: format!("{name}-{provider}"),
            secret: format!("{name}-{provider}-secret"),
            redirect_uris: Vec::new(),
        };
        let clients = ["google", "kakao", "naver"]
            .into_iter()
            // `stranger` is another application at the same provider: what is issued to it must not work for us.
            .flat_map(|provider| [client(provider, "sandbox"), client(provider, "stranger")])
            .collect();
        Self {
            base_url: String::new(),
            auto_persona: String::new(),
            code_ttl_secs: 300,
            clients,
            mail_api_key: "sandbox-mail-key".to_owned(),
            vendor_api_key: "sandbox-vendor-key".to_owned(),
            age_webhook_secret: "sandbox-age-webhook-secret".to_owned(),
            payment_api_key: "sandbox-payment-key".to_owned(),
            payment_webhook_secret: "sandbox-payment-webhook-secret".to_owned(),
            s3_access_key_id: "sandbox-s3-key".to_owned(),
            s3_access_key_secret: "sandbox-s3-secret".to_owned(),
            s3_buckets: vec!["coreloop-images".to_owned()],
            openai_api_key: "sandbox-openai-key".to_owned(),
            kakao_local_key: "sandbox-kakao-local-key".to_owned(),
            fcm_project: "coreloop-sandbox".to_owned(),
            fcm_client_email: "push@coreloop-sandbox.example".to_owned(),
            fcm_private_key: include_str!("fcm/service_account.pem").to_owned(),
        }
    }
}
