//! `coreloop keys`: the signing keys, and tokens of workers outside of the mesh, for operators.

use anyhow::Context as _;
use coreloop_access::{Level, Policy, token::is_service};
use coreloop_auth::minting;
use coreloop_config::Settings;
use coreloop_core::{Problem, SystemClock, id::SystemIds};
use coreloop_ops::audit::Book;
use serde_json::json;

use crate::{modules, tool, verify};

/// What to do with the keys.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Lists the published keys; the active one signs, the next one signs after a rotation.
    List,
    /// Makes the next key the active one. Running services follow within `auth.keys_reload_secs`.
    Rotate,
    /// Prints a token by which a worker outside of the mesh calls one service, once. It is good for `auth.internal_ttl_secs`.
    Mint {
        /// Name of the worker, as `vision-worker`: none of a service of the mesh.
        #[arg(long)]
        service: String,
        /// The service that it calls, as `scan`.
        #[arg(long)]
        audience: String,
    },
}

/// Does it.
pub(crate) async fn run(settings: &Settings, command: &Command) -> anyhow::Result<()> {
    if let Command::Mint { service, audience } = command {
        return mint(settings, service, audience).await;
    }
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
        Command::Mint { .. } => {}
    }
    Ok(())
}

/// Mints, and says so in the audit of ops: without the token, which is kept nowhere.
async fn mint(settings: &Settings, service: &str, audience: &str) -> anyhow::Result<()> {
    anyhow::ensure!(is_service(service), "`{service}` is no name: a-z, 0-9, - and _, 63 at most");
    anyhow::ensure!(
        !modules::names().contains(&service),
        "`{service}` is a service of the mesh, which asks auth itself"
    );
    let open = from_outside()?;
    anyhow::ensure!(
        open.iter().any(|name| name == audience),
        "`{audience}` has nothing for machines outside of the mesh; these have: {}",
        open.join(", ")
    );
    let (app, ours) = (tool::auth(settings).await?, verify::database(settings, "ops")?);
    let book = Book { db: &ours, clock: &SystemClock, ids: &SystemIds };
    let work = async {
        minting::mint(&app, service, audience).map_err(|error| coreloop_ops::Error::from(Problem::from(error)))
    };
    let act = ("cli".to_owned(), "auth.keys.mint", service);
    let outcome = |minted: &minting::Minted| json!({ "jti": minted.id.to_string(), "ttl_secs": minted.ttl_secs });
    let minted = book.audited(act, json!({ "audience": audience }), work, outcome).await?;
    eprintln!("good for {} s, for {audience} alone; it is not shown again", minted.ttl_secs);
    println!("{}", minted.token);
    Ok(())
}

/// Services with RPCs that machines may call from outside of the mesh, as the descriptors say.
fn from_outside() -> anyhow::Result<Vec<String>> {
    let policy = Policy::committed().context("the committed descriptors")?;
    let open = policy.rpcs().filter(|rpc| rpc.level == Level::Internal && !rpc.mesh_only);
    let mut names: Vec<String> = open.map(|rpc| rpc.target.to_string()).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn workers_outside_of_the_mesh_call_what_the_contracts_open_to_them() {
        let open = from_outside().unwrap();
        assert!(open.contains(&"scan".to_owned()) && open.contains(&"character".to_owned()), "{open:?}");
        // All that these have for machines is for those of the mesh.
        assert!(!open.contains(&"auth".to_owned()) && !open.contains(&"wallet".to_owned()), "{open:?}");
    }
}
