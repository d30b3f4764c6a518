//! The sandbox of third parties, running beside a mesh.

use coreloop_sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{Answer, Persona, Rest};

/// Where a browser is sent back to, with what it is given for the app.
#[derive(Debug)]
pub struct Back(url::Url);

impl Back {
    /// Where the edge's own callback sends it.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn by(redirect: &Answer) -> Self {
        assert_eq!(redirect.status, 302, "{}", redirect.text());
        Self(redirect.header("location").parse().expect("an address"))
    }

    /// All that it is given, as a query.
    #[must_use]
    pub fn query(&self) -> &str {
        self.0.query().unwrap_or_default()
    }

    /// One thing that it is given.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    #[track_caller]
    pub fn param(&self, name: &str) -> String {
        let mut of = self.0.query_pairs().filter_map(|(key, value)| (key == name).then(|| value.into_owned()));
        of.next().unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }

    /// What the app sends on: code and state.
    #[must_use]
    pub fn answer(&self) -> Value {
        json!({"code": self.param("code"), "state": self.param("state")})
    }
}

/// Running stand-ins: sign-in providers, mail, age verification, payment, vouchers, an S3 store, a vision model, a push gateway,
/// Kakao Local.
#[derive(Debug)]
pub struct StandIns {
    base: String,
    serving: JoinHandle<()>,
}

impl StandIns {
    /// Starts them on a free port.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        let serving = tokio::spawn(async move {
            let served = Sandbox::serve(listener, Options::default()).await;
            served.expect("the stand-ins serve");
        });
        Self { base, serving }
    }

    /// Their address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Settings by which services use them. Providers of sign-in answer as late as the machine lets them: nobody is to take them for
    /// away.
    #[must_use]
    pub fn settings(&self) -> String {
        let (secret, base) = (Options::default().age_webhook_secret, &self.base);
        format!(
            "[auth]\nage_webhook_secret = \"{secret}\"\n[auth.social]\nsandbox_url = \"{base}\"\nconnect_timeout_ms = 10000\ntimeout_ms = 10000\nexchange_timeout_ms = 25000\n[chat]\n{}[image]\n{}[location]\n{}[notification]\n{}[rewards]\n{}[scan]\n{}[shop.payment]\n{}",
            self.model_settings(),
            self.storage_settings(),
            self.places_settings(),
            self.push_settings(),
            self.vendor_settings(),
            self.model_settings(),
            self.payment_settings()
        )
    }

    /// What image must know of the S3 store, and of what stands in front of it.
    #[must_use]
    pub fn storage_settings(&self) -> String {
        let (base, Options { s3_access_key_id: id, s3_access_key_secret: secret, .. }) =
            (&self.base, Options::default());
        let keys = format!("s3_access_key_id = \"{id}\"\ns3_access_key_secret = \"{secret}\"\n");
        format!("s3_endpoint = \"{base}\"\ncdn_base_url = \"{base}/cdn/coreloop-images\"\n{keys}")
    }

    /// What scan and chat must know of the model.
    #[must_use]
    pub fn model_settings(&self) -> String {
        format!("model_url = \"{}\"\napi_key = \"{}\"\n", self.base, Options::default().openai_api_key)
    }

    /// What notification must know of the push gateway.
    #[must_use]
    pub fn push_settings(&self) -> String {
        let account = Options::default().fcm_service_account(&self.base);
        format!("fcm_url = \"{}/fcm\"\nservice_account = '{account}'\n", self.base)
    }

    /// What location must know of Kakao Local.
    #[must_use]
    pub fn places_settings(&self) -> String {
        format!("kakao_url = \"{}\"\nkakao_key = \"{}\"\n", self.base, Options::default().kakao_local_key)
    }

    /// What rewards must know of the vendor.
    #[must_use]
    pub fn vendor_settings(&self) -> String {
        format!("vendor_url = \"{}/vendor\"\nvendor_api_key = \"{}\"\n", self.base, Options::default().vendor_api_key)
    }

    /// What the shop must know of the payment service.
    #[must_use]
    pub fn payment_settings(&self) -> String {
        let secret = Options::default().payment_webhook_secret;
        format!("endpoint = \"{}/payment\"\nwebhook_secret = \"{secret}\"\n", self.base)
    }

    /// A client of theirs.
    #[must_use]
    pub fn rest(&self) -> Rest {
        Rest::to(&self.base)
    }

    /// Opens a provider's address as the browser of `persona` and answers where it is sent back to.
    ///
    /// # Panics
    /// When the provider does not send the browser back.
    pub async fn open(&self, authorization_url: &str, persona: &str) -> url::Url {
        let answer = self.try_open(authorization_url, persona).await;
        assert!(answer.status.is_redirection(), "the provider answered {} {}", answer.status, answer.text());
        answer.header("location").parse().expect("a location")
    }

    /// Opens a provider's address as the browser of `persona`.
    pub async fn try_open(&self, authorization_url: &str, persona: &str) -> Answer {
        let mut address: url::Url = authorization_url.parse().expect("an address");
        address.query_pairs_mut().append_pair("persona", persona);
        let path = match address.query() {
            Some(query) => format!("{}?{query}", address.path()),
            None => address.path().to_owned(),
        };
        self.rest().get(&path).send().await
    }

    /// Consents as `persona` to what an app has begun (an answer with an `authorization_url`): where the provider sends the
    /// browser back to.
    ///
    /// # Panics
    /// When the provider does not.
    pub async fn consent(&self, begun: &Value, persona: &str) -> Back {
        let address = begun["authorization_url"].as_str().expect("an address to open");
        Back(self.open(address, persona).await)
    }

    /// What `person` finishes a link with, having consented to it at the provider.
    pub async fn consent_to_link(&self, person: &Persona, provider: &str) -> Value {
        let path = format!("/api/v1/auth/authorize/{provider}?link=true");
        self.consent(&person.get(&path).await.expect(200), &person.visitor.handle()).await.answer()
    }

    /// Links the account of `person` with the one of their handle at a provider.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn link(&self, person: &Persona, provider: &str) {
        let answer = self.consent_to_link(person, provider).await;
        person.post(&format!("/api/v1/auth/links/{provider}"), &answer).await.expect(200);
    }

    /// Says something of a persona, as `{"id": "bob", "email_verified": false}`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn set_persona(&self, change: &Value) {
        self.rest().post("/_sandbox/personas", change).send().await.expect(200);
    }

    /// Switches a fault on, as `{"provider": "google", "endpoint": "token", "kind": "error"}`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn fault(&self, fault: &Value) {
        self.rest().post("/_sandbox/faults", fault).send().await.expect(201);
    }

    /// How often an endpoint was asked, as `google/token`.
    pub async fn requests(&self, endpoint: &str) -> u64 {
        let stats = self.rest().get("/_sandbox/stats").send().await.expect(200);
        stats["endpoints"][endpoint]["requests"].as_u64().unwrap_or_default()
    }

    /// Mail to `address` that has come, after waiting for the first.
    pub async fn mail_to(&self, address: &str) -> Vec<Value> {
        let path = format!("/_sandbox/mail?to={}&wait_ms=25000", address.replace('+', "%2B"));
        let mails = self.rest().get(&path).send().await.expect(200);
        mails["mails"].as_array().cloned().unwrap_or_default()
    }

    /// Has the age provider send its webhook; answers the status that the webhook got.
    pub async fn verify_age(&self, asked: &Value) -> u64 {
        let answer = self.rest().post("/age/verifications", asked).send().await.expect(200);
        answer["status"].as_u64().unwrap_or_default()
    }

    /// Age webhook of a user, to be changed by a test before [`StandIns::verify_age`].
    #[must_use]
    pub fn age_webhook(front: &str, user_id: &str) -> Value {
        json!({"callback_url": format!("{front}/api/v1/auth/age/webhook"), "user_id": user_id, "result": "verified"})
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
