//! `coreloop access explain`: what would be decided of a request at the edge, and why.

use anyhow::Context as _;
use coreloop_access::{Keys, keys::JwkSet};
use coreloop_config::Settings;

use crate::tool;

/// Questions about access.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Says what ext_authz would decide of `METHOD PATH`, and why. `POST` with a gRPC path is taken as gRPC.
    Explain {
        /// HTTP method.
        method: String,
        /// Raw path, as the client sends it.
        path: String,
        /// Token of the request.
        #[arg(long)]
        token: Option<String>,
        /// Where the public keys are read from when a token is given, as `http://127.0.0.1:8080/.well-known/jwks.json`.
        #[arg(long, value_name = "URL")]
        jwks: Option<String>,
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
}

/// Answers.
pub(crate) async fn run(settings: &Settings, command: &Command) -> anyhow::Result<()> {
    let Command::Explain { method, path, token, jwks, json } = command;
    let keys = match (token, jwks) {
        (Some(_), Some(address)) => read(address).await?,
        (Some(_), None) => tool::auth(settings)
            .await
            .context("a token needs keys: name their address with --jwks, or the databases in the settings")?
            .keys
            .jwks(),
        (None, _) => JwkSet::default(),
    };
    let gate = tool::gate(settings, Keys::fixed(&keys), None)?;
    let explanation = gate.explain(&method.to_ascii_uppercase(), path, token.as_deref()).await;
    if *json {
        println!("{}", serde_json::to_string_pretty(&explanation)?);
    } else {
        println!("{explanation}");
        if token.is_some() {
            println!("note: revocations are not looked at here");
        }
    }
    Ok(())
}

async fn read(address: &str) -> anyhow::Result<JwkSet> {
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(5)).build()?;
    let reply = client.get(address).send().await?.error_for_status()?;
    reply.json().await.with_context(|| format!("{address} holds no keys"))
}
