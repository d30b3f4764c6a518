//! Whose story it is: somebody who signs up for it and signs in, or the owner of a token.

use anyhow::{Context as _, ensure};
use serde_json::json;
use uuid::Uuid;

use super::{api::Api, json::text, teller::Teller};

/// Where people are signed in.
pub(crate) const LOGIN: &str = "/api/v1/auth/login";

/// Somebody who is signed in.
#[derive(Debug)]
pub(crate) struct Person {
    /// Id of the account.
    pub(crate) user: String,
    /// Email and password of an account that was made for this, for whoever wants to look around in it.
    pub(crate) account: Option<(String, String)>,
}

/// Makes an account, and signs in. Its password is a new one each time, and kept nowhere.
///
/// # Errors
/// When either is refused.
pub(crate) async fn sign_up(api: &mut Api, teller: &Teller) -> anyhow::Result<Person> {
    let email = format!("demo-{}@example.com", Uuid::new_v4().simple());
    let password = format!("demo-{}", Uuid::new_v4().simple());
    let device = ("coreloop demo", "coreloop-demo");
    let account = json!({"email": email, "password": password, "nickname": "Demo",
                         "device_name": device.0, "device_id": device.1});
    api.post("signing up", "/api/v1/auth/signup", &account).await?;
    teller.step("signed up", &email);
    let account = json!({"email": email, "password": password, "device_name": device.0, "device_id": device.1});
    let session = api.post("signing in", LOGIN, &account).await?;
    let (token, user) = (text(&session, "/access_token"), text(&session, "/user/id"));
    ensure!(!token.is_empty() && !user.is_empty(), "signing in: the answer has no token or no user");
    api.sign_in(token);
    teller.step("signed in", format!("user {user}"));
    Ok(Person { user: user.to_owned(), account: Some((email, password)) })
}

/// The owner of a token; `-` reads it from standard input.
///
/// # Errors
/// When it is refused.
pub(crate) async fn of_token(api: &mut Api, teller: &Teller, token: &str) -> anyhow::Result<Person> {
    let read = match token {
        "-" => std::io::stdin().lines().next().context("--token -: standard input is empty")??,
        token => token.to_owned(),
    };
    api.sign_in(read.trim());
    let me = api.get("asking who the token is of", "/api/v1/auth/me").await?;
    let user = text(&me, "/user/id");
    ensure!(!user.is_empty(), "asking who the token is of: the answer names no user");
    teller.step("signed in", format!("user {user}, by the token that was given"));
    Ok(Person { user: user.to_owned(), account: None })
}
