//! A caller of every role, each with a token that auth itself issued.

use std::time::SystemTime;

use aws_lc_rs::hmac;
use coreloop_access::testing::Issuer;
use coreloop_auth::{
    totp,
    vault::{self, Vault},
};
use prost::Message as _;
use secrecy::SecretString;
use serde_json::json;
use tonic::transport::Channel;
use totp_rs::Secret;

use crate::{
    Answer, PASSWORD, Persona, TestDb, TestMesh, Visitor,
    mesh::{MASTER_KEY, MESH_SECRET},
    rpc,
};

/// An administrator: a person with a second factor.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Who it is, not signed in.
    pub visitor: Visitor,
    /// Id of the account.
    pub user_id: String,
    /// Codes that each work once instead of the second factor.
    pub recovery_codes: Vec<String>,
    secret: Vec<u8>,
}

impl Admin {
    /// The code of the second factor at a time in seconds since the epoch.
    ///
    /// # Panics
    /// Never: the secret is long enough.
    #[must_use]
    pub fn code_at(&self, unix: i64) -> String {
        let totp = totp_rs::Builder::new()
            .with_secret(Secret::from(self.secret.clone()))
            .with_account_name(self.visitor.email.clone())
            .with_issuer(Some("coreloop"))
            .build()
            .expect("a second factor");
        totp.generate(u64::try_from(unix).unwrap_or_default()).to_string()
    }

    /// Tries to sign in with a code.
    pub async fn try_login(&self, code: &str) -> Answer {
        self.try_login_from(&self.visitor, code).await
    }

    /// Tries to sign in with a code from another device.
    pub async fn try_login_from(&self, visitor: &Visitor, code: &str) -> Answer {
        let body =
            json!({"email": self.visitor.email, "password": PASSWORD, "code": code, "device_id": visitor.device_id});
        visitor.post("/api/auth/admin/login", &body).await
    }
}

impl TestMesh {
    /// Seconds since the epoch by the mesh's clock.
    #[must_use]
    pub fn now(&self) -> i64 {
        coreloop_core::Clock::unix(&self.clock)
    }

    /// An administrator who is not signed in.
    ///
    /// # Panics
    /// When the account cannot be arranged.
    pub async fn admin_account(&self) -> Admin {
        let persona = self.persona("admin").await;
        let id = &persona.user_id;
        let key = vault::parse_key(&SecretString::from(MASTER_KEY.to_owned())).expect("a key");
        let secret = vault::random::<20>().expect("randomness").to_vec();
        let sealed = Vault::new(&key).and_then(|vault| vault.seal(id, &secret)).expect("sealed");
        let recovery_codes: Vec<String> = (0..8).map(|n| format!("recover-{n}-{}", &id[24..])).collect();
        let hashes: Vec<String> =
            recovery_codes.iter().map(|code| format!("'\\x{}'::bytea", hex(&totp::recovery_hash(code)))).collect();
        self.db
            .execute(&format!(
                "with made as (update auth.users set roles = '{{STANDARD,ADMIN}}' where id = '{id}'),
                      secret as (insert into auth.totp_secrets (user_id, secret, created_at)
                                 values ('{id}', '\\x{}', now()))
                 insert into auth.recovery_codes (user_id, code_hash, created_at)
                 select '{id}', hash, now() from unnest(array[{}]) hash",
                hex(&sealed),
                hashes.join(",")
            ))
            .await;
        Admin { visitor: persona.visitor, user_id: persona.user_id, recovery_codes, secret }
    }

    /// An administrator who is signed in.
    pub async fn admin(&self) -> Persona {
        let admin = self.admin_account().await;
        let answer = admin.try_login(&admin.code_at(self.now())).await.expect(200);
        Persona::signed_in(admin.visitor, &answer)
    }

    /// Somebody with these roles, as `PREMIUM`.
    pub async fn persona_with_role(&self, name: &str, role: &str) -> Persona {
        let persona = self.persona(name).await;
        let id = &persona.user_id;
        self.db.execute(&format!("update auth.users set roles = '{{STANDARD,{role}}}' where id = '{id}'")).await;
        persona.visitor.login().await
    }

    /// A token by which the machine `service` calls `audience`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn machine_token(&self, service: &str, audience: &str) -> String {
        mint(&self.grpc("auth"), service, audience, self.now()).await
    }
}

/// A token by which the machine `service` calls `audience`, of the auth at the other end of `auth`, where it is `now`.
///
/// # Panics
/// When it is refused.
pub async fn mint(auth: &Channel, service: &str, audience: &str, now: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, MESH_SECRET.as_bytes());
    let proof = hmac::sign(&key, format!("{service}\n{audience}\n{now}").as_bytes());
    let request = coreloop_auth_api::v1::MintInternalTokenRequest {
        service: service.to_owned(),
        audience: audience.to_owned(),
        timestamp: now,
        proof: hex(proof.as_ref()),
    };
    let path = "/coreloop.auth.v1.AuthInternalService/MintInternalToken";
    let answer = rpc::call(auth, path, &request.encode_to_vec(), &[]).await.expect("a machine token");
    coreloop_auth_api::v1::MintInternalTokenResponse::decode(answer).expect("an answer").token
}

/// Puts the keys of an issuer among those that auth publishes.
pub(crate) async fn publish(db: &TestDb, issuer: &Issuer) {
    db.execute(&publishing(issuer)).await;
}

/// Statements for the database of auth, after which it publishes the keys of an issuer: as retired ones, which still verify.
///
/// # Panics
/// Never: the keys are good.
#[must_use]
pub fn publishing(issuer: &Issuer) -> String {
    let key = vault::parse_key(&SecretString::from(MASTER_KEY.to_owned())).expect("a key");
    let vault = Vault::new(&key).expect("a vault");
    let signers = [
        ("user", "RS256", &issuer.user),
        ("user", "ES256", &issuer.user_ec),
        ("user", "EdDSA", &issuer.user_ed),
        ("admin", "RS256", &issuer.admin),
        ("internal", "ES256", &issuer.internal),
    ];
    let statements = signers.map(|(purpose, algorithm, signer)| {
        let kid = signer.kid();
        let sealed = hex(&vault.seal(kid, &signer.to_pkcs8().expect("a key")).expect("sealed"));
        let jwk = serde_json::to_string(&signer.jwk().expect("a key")).expect("JSON");
        format!(
            "insert into auth.signing_keys
               (kid, purpose, alg, state, private_key, public_jwk, created_at, activated_at, retired_at, expires_at)
             values ('{kid}', '{purpose}', '{algorithm}', 'retired', '\\x{sealed}', '{jwk}', now(), now(), now(), now() + interval '1 day')"
        )
    });
    statements.join(";")
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since the epoch by the machine's clock.
///
/// # Panics
/// Never.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "tests arrange what only the machine's clock knows")]
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}
