//! People of a test: each with an address, a device and a session of their own.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicU32, Ordering},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{Answer, Rest, rest::Call};

/// The password of every persona unless a test sets another.
pub const PASSWORD: &str = "plum kettle orbit wharf hymn";

static NEXT: AtomicU32 = AtomicU32::new(1);

/// Somebody who is not signed in yet: a name, an email, a device and an address of their own.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Name.
    pub name: String,
    /// Email, unique in the process.
    pub email: String,
    /// Id of the device.
    pub device_id: String,
    /// Address that the connections come from.
    pub source: IpAddr,
    rest: Rest,
}

/// A number that nobody else has, and the address that belongs to it.
fn own() -> (u32, IpAddr) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, b, c, d] = number.to_be_bytes();
    (number, IpAddr::V4(Ipv4Addr::new(127, 1 + b, c, d)))
}

/// An address that nobody else calls from: limits by address count each caller apart.
#[must_use]
pub fn own_address() -> IpAddr {
    own().1
}

impl Visitor {
    /// Somebody called `name` who calls `base`.
    #[must_use]
    pub fn new(name: &str, base: &str) -> Self {
        let (number, source) = own();
        Self {
            name: name.to_owned(),
            email: format!("{name}.{number}@example.com"),
            device_id: format!("device-{number}"),
            source,
            rest: Rest::from(Some(source), base),
        }
    }

    /// A name at a provider that no other test uses; the email there is the person's.
    ///
    /// # Panics
    /// Never: the email has one.
    #[must_use]
    pub fn handle(&self) -> String {
        self.email.split('@').next().expect("a name").to_owned()
    }

    /// The same person calling another address (another replica, Envoy, the gateway).
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { rest: Rest::from(Some(self.source), base), ..self.clone() }
    }

    /// The same person on another device at another address.
    #[must_use]
    pub fn elsewhere(&self) -> Self {
        Self { email: self.email.clone(), ..Self::new(&self.name, self.rest.base()) }
    }

    /// The client without a token.
    #[must_use]
    pub fn rest(&self) -> &Rest {
        &self.rest
    }

    /// A GET of `path` without a token.
    pub async fn get(&self, path: &str) -> Answer {
        self.rest.get(path).send().await
    }

    /// A POST of `json` to `path` without a token.
    pub async fn post(&self, path: &str, json: &Value) -> Answer {
        self.rest.post(path, json).send().await
    }

    /// What a sign-up of this person sends.
    #[must_use]
    pub fn sign_up_body(&self) -> Value {
        json!({"email": self.email, "password": PASSWORD, "nickname": self.name,
               "device_name": "test phone", "device_id": self.device_id})
    }

    /// Tries to sign in.
    pub async fn try_login(&self, password: &str) -> Answer {
        let body = json!({"email": self.email, "password": password, "device_name": "test phone", "device_id": self.device_id});
        self.post("/api/v1/auth/login", &body).await
    }

    /// Signs up.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn sign_up(self) -> Persona {
        let answer = self.post("/api/v1/auth/signup", &self.sign_up_body()).await.expect(201);
        Persona::signed_in(self, &answer)
    }

    /// Signs in.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn login(self) -> Persona {
        let answer = self.try_login(PASSWORD).await.expect(200);
        Persona::signed_in(self, &answer)
    }
}

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct Persona {
    /// Who it is.
    pub visitor: Visitor,
    /// Access token.
    pub access_token: String,
    /// Refresh token; empty for an administrator.
    pub refresh_token: String,
    /// Id of the account.
    pub user_id: String,
}

impl Persona {
    /// Somebody whom `answer` (of a sign-up or sign-in) signed in.
    ///
    /// # Panics
    /// When it carries no session.
    #[must_use]
    pub fn signed_in(visitor: Visitor, answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let persona = Self {
            visitor,
            access_token: text(&answer["access_token"]),
            refresh_token: text(&answer["refresh_token"]),
            user_id: text(&answer["user"]["id"]),
        };
        assert!(!persona.access_token.is_empty() && !persona.user_id.is_empty(), "no session in {answer}");
        persona
    }

    /// The same person and session calling another address.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { visitor: self.visitor.at(base), ..self.clone() }
    }

    /// The client with the person's token.
    #[must_use]
    pub fn rest(&self) -> Rest {
        self.visitor.rest.with_token(&self.access_token)
    }

    /// A call that is not sent yet, with the person's token.
    #[must_use]
    pub fn call(&self, method: http::Method, path: &str) -> Call {
        self.rest().call(method, path)
    }

    /// A GET of `path`.
    pub async fn get(&self, path: &str) -> Answer {
        self.rest().get(path).send().await
    }

    /// A POST of `json` to `path`.
    pub async fn post(&self, path: &str, json: &Value) -> Answer {
        self.rest().post(path, json).send().await
    }

    /// A DELETE of `path`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.rest().delete(path).send().await
    }

    /// The person's account.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn me(&self) -> Value {
        self.get("/api/v1/auth/me").await.expect(200)["user"].clone()
    }

    /// The person's token is accepted. Not being answered is not being refused.
    ///
    /// # Panics
    /// When the answer is neither.
    pub async fn is_signed_in(&self) -> bool {
        let answer = self.get("/api/v1/auth/me").await;
        match answer.status.as_u16() {
            200 => true,
            401 => false,
            _ => panic!("neither accepted nor refused: {} {}", answer.status, answer.text()),
        }
    }

    /// What the person's access token says.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn claims(&self) -> Value {
        let payload = self.access_token.split('.').nth(1).expect("a token");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON")
    }

    /// Tries to trade the refresh token, from the person's device.
    pub async fn try_refresh(&self) -> Answer {
        self.try_refresh_from(&self.visitor.device_id).await
    }

    /// Tries to trade the refresh token from another device.
    pub async fn try_refresh_from(&self, device_id: &str) -> Answer {
        let body = json!({"refresh_token": self.refresh_token, "device_id": device_id});
        self.visitor.post("/api/v1/auth/token/refresh", &body).await
    }

    /// Trades the refresh token and goes on with the new pair.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn refresh(&mut self) {
        let answer = self.try_refresh().await.expect(200);
        *self = Self::signed_in(self.visitor.clone(), &answer);
    }

    /// Ends the session.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn logout(&self) {
        self.post("/api/v1/auth/logout", &json!({})).await.expect(200);
    }
}
