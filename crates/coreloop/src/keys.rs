//! `coreloop keys`: the signing keys, for operators.

use anyhow::Context as _;
use coreloop_config::Settings;

use crate::tool;

/// What to do with the keys.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Lists the published keys; the active one signs, the next one signs after a rotation.
    List,
    /// Makes the next key the active one. Running services follow within `auth.keys_reload_secs`.
    Rotate,
}

/// Does it.
pub(crate) async fn run(settings: &Settings, command: &Command) -> anyhow::Result<()> {
    let app = tool::auth(settings).await?;
    match command {
        Command::List => {
            let standing = app.keys.standing().context("no key is loaded")?;
            for key in app.keys.jwks().keys {
                let value = serde_json::to_value(&key)?;
                let text = |name: &str| value.get(name).and_then(|it| it.as_str()).unwrap_or("").to_owned();
                let kid = text("kid");
                let state = if kid == standing.active_kid {
                    "active"
                } else if kid == standing.next_kid {
                    "next"
                } else {
                    ""
                };
                println!("{kid}  {}  {}  {state}", text("alg"), text("coreloop_purpose"));
            }
        }
        Command::Rotate => {
            let rotated = app.keys.rotate(&app).await.context("the keys were not rotated")?;
            println!("active {}\nnext   {}", rotated.active_kid, rotated.next_kid);
        }
    }
    Ok(())
}
