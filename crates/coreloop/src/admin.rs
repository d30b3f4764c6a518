//! `coreloop admin`: the first administrator, whom no other can make.

use anyhow::Context as _;
use coreloop_config::Settings;

use crate::tool;

/// What to do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Makes an account an administrator's and prints its second factor, once. The account is made where there is none.
    Create {
        /// Address of the account.
        #[arg(long)]
        email: String,
    },
}

/// Does it. What it prints is secret and is kept nowhere.
pub(crate) async fn run(settings: &Settings, command: Command) -> anyhow::Result<()> {
    let Command::Create { email } = command;
    anyhow::ensure!(email.contains('@'), "`{email}` is no address");
    let app = tool::auth(settings).await?;
    let made = coreloop_auth::admin::create(&app, &email, None).await.context("the administrator was not made")?;
    println!("account   {}", made.user);
    if let Some(password) = made.password {
        println!("password  {password}");
    }
    println!("totp      {}", made.otpauth_url);
    println!("recovery  {}", made.recovery_codes.join("  "));
    println!("Nothing of this is shown again. Sign in at POST /api/auth/admin/login.");
    Ok(())
}
