//! `coreloop config`: the settings in force, and everything that is wrong with them.

use std::collections::BTreeMap;

use coreloop_config::{Errors, Settings};
use coreloop_server::{ProcessOptions, ServerOptions};
use coreloop_service::Mode;

use crate::{brokers, modules};

/// What to show.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Lists every problem, each with file and line or variable name; exit code 2 when there is one.
    Check,
    /// Shows what is in force and where it comes from, secrets redacted.
    Print,
}

/// Shows it.
pub(crate) fn run(settings: &Settings, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Check => {
            check(settings)?;
            println!("the settings are good");
        }
        Command::Print => print!("{}", settings.print()),
    }
    Ok(())
}

/// Reads every section as its room does, so that all problems come at once and not one a start.
///
/// # Errors
/// Everything that is wrong.
pub(crate) fn check(settings: &Settings) -> Result<(), Errors> {
    let mut errors = Errors::default();
    let mode = errors.absorb(settings.read::<Mode>("mode"));
    let process = errors.absorb(ProcessOptions::read(settings));
    errors.absorb(check_names(settings));
    errors.absorb(brokers::read(&settings.section("eventing")));
    errors.absorb(coreloop_auth::Options::read(&settings.section("auth"), mode.unwrap_or_default()));
    errors.absorb(coreloop_character::Options::read(&settings.section("character")));
    errors.absorb(coreloop_chat::Options::read(&settings.section("chat"), mode.unwrap_or_default()));
    errors.absorb(coreloop_image::Options::read(&settings.section("image"), mode.unwrap_or_default()));
    errors.absorb(coreloop_location::Options::read(&settings.section("location"), mode.unwrap_or_default()));
    errors.absorb(coreloop_my::Options::read(&settings.section("my")));
    errors.absorb(coreloop_notification::Options::read(&settings.section("notification"), mode.unwrap_or_default()));
    errors.absorb(coreloop_realtime::Options::read(&settings.section("realtime")));
    errors.absorb(coreloop_rewards::Options::read(&settings.section("rewards"), mode.unwrap_or_default()));
    errors.absorb(coreloop_scan::Options::read(&settings.section("scan"), mode.unwrap_or_default()));
    errors.absorb(coreloop_shop::Options::read(&settings.section("shop"), mode.unwrap_or_default()));
    errors.absorb(coreloop_wallet::Options::read(&settings.section("wallet")));
    errors.absorb(coreloop_ops::Options::read(&settings.section("ops")));
    errors.absorb(coreloop_gateway::Options::read(&settings.section("gateway")));
    if let Some(process) = process {
        errors.absorb(check_header_limits(settings, &process.server));
    }
    errors.absorb(settings.section("sandbox").read::<coreloop_sandbox::Options>());
    errors.into_result()
}

/// Ports and peers are of modules that there are; `gateway` is the edge's HTTP port.
fn check_names(settings: &Settings) -> Result<(), Errors> {
    let mut errors = Errors::default();
    let modules = modules::names();
    let listeners = [modules.as_slice(), &["gateway"]].concat();
    errors.absorb(settings.section("server").read_with(|_: &ServerOptions, found| found.only("ports", &listeners)));
    let peers = settings.section("peers");
    errors.absorb(peers.read_with(|_: &BTreeMap<String, String>, found| found.only("", &modules)));
    errors.into_result()
}

/// The listener must let through what the edge is to refuse with an answer.
fn check_header_limits(settings: &Settings, server: &ServerOptions) -> Result<(), Errors> {
    let most = server.max_header_bytes;
    let read = settings.section("gateway").read_with(|gateway: &coreloop_gateway::Options, report| {
        if gateway.header_limit_bytes >= usize::try_from(most).unwrap_or(usize::MAX) {
            report.refuse("header_limit_bytes", format!("must be below server.max_header_bytes, {most}"));
        }
    });
    read.map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_problem_of_every_section_comes_at_once() {
        let text = "mode = \"local\"\n[auth]\naccess_ttl_secs = \"soon\"\nacess_ttl = 1\n[gateway]\nbody_limit_bytes = -1\n[server]\nadmin_port = 99999\n";
        let settings = Settings::defaults().with_toml("coreloop.toml", text).unwrap();
        let found = check(&settings).unwrap_err().to_string();
        for part in [
            "coreloop.toml:3",
            "auth.access_ttl_secs",
            "coreloop.toml:4",
            "gateway.body_limit_bytes",
            "server.admin_port",
        ] {
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn names_that_no_module_has_and_limits_that_contradict_each_other_are_found() {
        let text = "mode = \"local\"\n[server]\nmax_header_bytes = 8192\n[server.ports]\nauht = 1\ngateway = 2\nedge = 3\n\
                    [peers]\nwalet = \"http://wallet:1\"\n[gateway]\nreply_limit_bytes = 0\n";
        let settings = Settings::defaults().with_toml("x", text).unwrap();
        let found: Vec<_> = check(&settings).unwrap_err().0.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "x:5: server.ports.auht: unknown key, did you mean `auth`?",
                "x:9: peers.walet: unknown key, did you mean `wallet`?",
                "x:11: gateway.reply_limit_bytes: must be 1024 to 1073741824, is 0",
                "config.default.toml: gateway.header_limit_bytes: must be below server.max_header_bytes, 8192",
            ]
        );
    }

    #[test]
    fn the_defaults_of_local_mode_are_good() {
        let settings = Settings::defaults().with("mode", "local");
        assert_eq!(check(&settings), Ok(()));
    }

    /// What the embedded file says and what the code does without it are the same, so the file documents the truth.
    #[test]
    fn the_embedded_file_is_the_defaults() {
        fn same<T: serde::de::DeserializeOwned + Default + std::fmt::Debug>(name: &str) {
            let written = Settings::defaults().section(name).read::<T>().unwrap();
            assert_eq!(format!("{written:#?}"), format!("{:#?}", T::default()), "[{name}]");
        }
        same::<coreloop_server::ServerOptions>("server");
        same::<coreloop_db::Options>("database");
        same::<coreloop_server::RedisOptions>("redis");
        same::<coreloop_server::LogOptions>("log");
        same::<coreloop_server::OtlpOptions>("otlp");
        same::<coreloop_access::Options>("access");
        same::<coreloop_limit::Options>("limit");
        same::<coreloop_auth::Options>("auth");
        same::<coreloop_character::Options>("character");
        same::<coreloop_chat::Options>("chat");
        same::<coreloop_image::Options>("image");
        same::<coreloop_location::Options>("location");
        same::<coreloop_my::Options>("my");
        same::<coreloop_notification::Options>("notification");
        same::<coreloop_realtime::Options>("realtime");
        same::<coreloop_rewards::Options>("rewards");
        same::<coreloop_scan::Options>("scan");
        same::<coreloop_shop::Options>("shop");
        same::<coreloop_wallet::Options>("wallet");
        same::<coreloop_ops::Options>("ops");
        same::<coreloop_gateway::Options>("gateway");
        same::<coreloop_eventing::Options>("eventing");
        let written = Settings::defaults().section("eventing").sub("rabbitmq");
        let written = written.read::<coreloop_eventing_rabbitmq::Options>().unwrap();
        assert_eq!(format!("{written:#?}"), format!("{:#?}", coreloop_eventing_rabbitmq::Options::default()));
        same::<coreloop_sandbox::Options>("sandbox");
    }

    /// Every key that an options struct has is in its section of the file, if only as a comment.
    #[test]
    fn the_embedded_file_names_every_key() {
        fn missing<T: serde::de::DeserializeOwned>(section: &str, inner: &[&str]) -> Vec<String> {
            let defaults = format!("\n{}", coreloop_config::DEFAULTS);
            let begin = defaults.split_once(&format!("\n[{section}]\n")).unwrap().1;
            let text = format!("\n{}", begin.split_once("\n[").map_or(begin, |(text, _)| text));
            let keys = keys_of::<T>();
            assert!(keys.len() > inner.len(), "{section} is read by no struct");
            let named = |key: &str| [format!("\n{key} = "), format!("\n# {key} = ")].iter().any(|it| text.contains(it));
            let keys = keys.iter().filter(|key| !inner.contains(key) && !named(key));
            keys.map(|key| format!("{section}.{key}")).collect()
        }
        let missing = [
            missing::<ServerOptions>("server", &["ports"]),
            missing::<coreloop_db::Options>("database", &[]),
            missing::<coreloop_server::RedisOptions>("redis", &[]),
            missing::<coreloop_server::LogOptions>("log", &[]),
            missing::<coreloop_server::OtlpOptions>("otlp", &[]),
            missing::<coreloop_access::Options>("access", &[]),
            missing::<coreloop_limit::Options>("limit", &[]),
            missing::<coreloop_auth::Options>("auth", &["social", "mail"]),
            missing::<coreloop_auth::social::Options>("auth.social", &["providers"]),
            missing::<coreloop_auth::mail::Options>("auth.mail", &[]),
            missing::<coreloop_character::Options>("character", &[]),
            missing::<coreloop_chat::Options>("chat", &[]),
            missing::<coreloop_image::Options>("image", &[]),
            missing::<coreloop_location::Options>("location", &[]),
            missing::<coreloop_my::Options>("my", &[]),
            missing::<coreloop_notification::Options>("notification", &[]),
            missing::<coreloop_realtime::Options>("realtime", &[]),
            missing::<coreloop_rewards::Options>("rewards", &[]),
            missing::<coreloop_scan::Options>("scan", &[]),
            missing::<coreloop_shop::Options>("shop", &["payment"]),
            missing::<coreloop_shop::options::Payment>("shop.payment", &[]),
            missing::<coreloop_wallet::Options>("wallet", &[]),
            missing::<coreloop_ops::Options>("ops", &[]),
            missing::<coreloop_gateway::Options>("gateway", &["cors", "sockets"]),
            missing::<coreloop_access::CorsOptions>("gateway.cors", &[]),
            missing::<coreloop_gateway::Sockets>("gateway.sockets", &[]),
            missing::<coreloop_eventing::Options>("eventing", &["rabbitmq", "kafka", "sqs"]),
            missing::<coreloop_eventing_rabbitmq::Options>("eventing.rabbitmq", &[]),
            #[cfg(feature = "kafka")]
            missing::<coreloop_eventing_kafka::Options>("eventing.kafka", &["client", "schema_registry"]),
            #[cfg(feature = "kafka")]
            missing::<coreloop_eventing_kafka::RegistryOptions>("eventing.kafka.schema_registry", &[]),
            #[cfg(feature = "sqs")]
            missing::<coreloop_eventing_sqs::Options>("eventing.sqs", &[]),
            missing::<coreloop_sandbox::Options>("sandbox", &["clients"]),
        ];
        assert!(missing.concat().is_empty(), "{missing:?}");
    }

    /// The keys of a struct, as its derived `Deserialize` asks for them.
    fn keys_of<T: serde::de::DeserializeOwned>() -> &'static [&'static str] {
        struct Ask<'a>(&'a mut &'static [&'static str]);
        impl<'de> serde::Deserializer<'de> for Ask<'_> {
            type Error = serde::de::value::Error;

            fn deserialize_struct<V: serde::de::Visitor<'de>>(
                self,
                _: &'static str,
                fields: &'static [&'static str],
                _: V,
            ) -> Result<V::Value, Self::Error> {
                *self.0 = fields;
                Err(serde::de::Error::custom("asked"))
            }

            fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
                Err(serde::de::Error::custom("no struct"))
            }

            serde::forward_to_deserialize_any! {
                bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
                unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
            }
        }
        let mut keys: &'static [&'static str] = &[];
        drop(T::deserialize(Ask(&mut keys)));
        keys
    }

    #[test]
    fn production_refuses_to_start_without_its_secrets() {
        let missing = |settings: &Settings| -> Vec<String> {
            let found = check(settings).err().unwrap_or_default().0;
            found.into_iter().map(|finding| finding.key).filter(|key| key.starts_with("auth.")).collect()
        };
        let secrets = ["auth.mail.api_key", "auth.master_key", "auth.mesh_secret"];
        assert_eq!(missing(&Settings::defaults()), secrets);
        // An empty one is none.
        assert_eq!(missing(&Settings::defaults().with("auth.mail.api_key", "")), secrets);
        let key = Settings::defaults().with("auth.mail.api_key", "a key");
        assert_eq!(missing(&key), secrets[1..]);
    }
}
