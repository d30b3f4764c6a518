//! The settings file of the mesh that `up` starts: `.coreloop/coreloop.toml`. Any `coreloop` command takes it with
//! `--config`.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{place, postgres};

/// Key of the service account of the sandbox's push gateway. Public knowledge, as all of its settings.
const PUSH_KEY: &str = include_str!("../../../sandbox/src/fcm/service_account.pem");

/// Ports of everything.
#[derive(Debug, Clone)]
pub(super) struct Ports {
    /// What clients talk to: Envoy when it runs, else the gateway.
    pub(super) front: u16,
    pub(super) envoy: u16,
    pub(super) envoy_admin: u16,
    pub(super) gateway: u16,
    pub(super) admin: u16,
    pub(super) sandbox: u16,
    pub(super) postgres: u16,
    pub(super) redis: u16,
    /// Port of each module's gRPC listener.
    pub(super) grpc: Vec<(String, u16)>,
}

/// Addresses of the databases.
#[derive(Debug)]
pub(super) struct Urls {
    /// With the superuser's name and password.
    pub(super) postgres: String,
    pub(super) redis: String,
}

/// Writes the file; the password of the services' roles is made once.
pub(super) fn write(private: &Path, ports: &Ports, urls: &Urls) -> Result<PathBuf> {
    let kept = private.join("services.password");
    if !kept.exists() {
        place::write_secret(&kept, &postgres::random_hex()?)?;
    }
    let password = fs::read_to_string(&kept)?;
    let path = private.join("coreloop.toml");
    place::write_secret(&path, &render(ports, urls, password.trim(), &private.join("auth"))?)?;
    Ok(path)
}

fn render(ports: &Ports, urls: &Urls, password: &str, keys: &Path) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "# Written by `cargo xtask up`; changes are overwritten by the next one.")?;
    writeln!(text, "mode = \"local\"\n")?;
    writeln!(text, "[database]")?;
    writeln!(text, "url = \"postgres://127.0.0.1:{}/coreloop\"", ports.postgres)?;
    writeln!(text, "admin_url = \"{}\"", urls.postgres)?;
    writeln!(text, "password = \"{password}\"\n")?;
    // Every trace, to the collector of the sandbox.
    writeln!(text, "[otlp]\nendpoint = \"http://127.0.0.1:{}\"\nratio = 1.0\n", ports.sandbox)?;
    writeln!(text, "[redis]\nurl = \"{}\"\n", urls.redis)?;
    let front = ports.front;
    writeln!(text, "[auth]\npublic_url = \"http://127.0.0.1:{front}\"")?;
    writeln!(text, "data_dir = \"{}\"", keys.display())?;
    writeln!(text, "age_webhook_secret = \"sandbox-age-webhook-secret\"\n")?;
    writeln!(text, "[image]\ns3_endpoint = \"http://127.0.0.1:{}\"", ports.sandbox)?;
    writeln!(text, "s3_access_key_id = \"sandbox-s3-key\"\ns3_access_key_secret = \"sandbox-s3-secret\"")?;
    writeln!(text, "cdn_base_url = \"http://127.0.0.1:{}/cdn/coreloop-images\"\n", ports.sandbox)?;
    writeln!(text, "[chat]\nmodel_url = \"http://127.0.0.1:{}\"\napi_key = \"sandbox-openai-key\"\n", ports.sandbox)?;
    writeln!(text, "[location]\nkakao_url = \"http://127.0.0.1:{}\"", ports.sandbox)?;
    writeln!(text, "kakao_key = \"sandbox-kakao-local-key\"\n")?;
    writeln!(text, "[notification]\nfcm_url = \"http://127.0.0.1:{}/fcm\"", ports.sandbox)?;
    writeln!(text, "service_account = '{}'\n", push_account(ports.sandbox))?;
    writeln!(text, "[rewards]\nvendor_url = \"http://127.0.0.1:{}/vendor\"", ports.sandbox)?;
    writeln!(text, "vendor_api_key = \"sandbox-vendor-key\"\n")?;
    writeln!(text, "[scan]\nmodel_url = \"http://127.0.0.1:{}\"\napi_key = \"sandbox-openai-key\"\n", ports.sandbox)?;
    writeln!(text, "[shop.payment]\nendpoint = \"http://127.0.0.1:{}/payment\"", ports.sandbox)?;
    writeln!(text, "webhook_secret = \"sandbox-payment-webhook-secret\"")?;
    writeln!(text, "callback_url = \"http://127.0.0.1:{front}/api/shop/webhook\"\n")?;
    writeln!(text, "[auth.social]\nsandbox_url = \"http://127.0.0.1:{}\"\n", ports.sandbox)?;
    writeln!(text, "[server]\nadmin_port = {}\n", ports.admin)?;
    writeln!(text, "[server.ports]\ngateway = {}", ports.gateway)?;
    for (service, port) in &ports.grpc {
        writeln!(text, "{service} = {port}")?;
    }
    Ok(text)
}

/// The key file of that account: JSON, which has none of the quotes that it stands in.
fn push_account(sandbox: u16) -> String {
    let key = PUSH_KEY.replace('\n', "\\n");
    format!(
        r#"{{"project_id":"coreloop-sandbox","private_key_id":"sandbox-fcm-1","private_key":"{key}","client_email":"push@coreloop-sandbox.example","token_uri":"http://127.0.0.1:{sandbox}/fcm/token"}}"#
    )
}
