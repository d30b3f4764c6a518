//! Where to look at what happened: commands to paste, with the ids of this story.

use std::fmt::Write as _;

use coreloop_config::Settings;
use coreloop_server::{OtlpOptions, RedisOptions};
use reqwest::Url;
use secrecy::ExposeSecret as _;

use super::person::{LOGIN, Person};

/// Where the parts of a deployment are, as a shell may say it.
#[derive(Debug)]
pub(crate) struct Place {
    /// The API.
    pub(crate) api: String,
    /// The collector of traces.
    collector: Option<String>,
    database: String,
    redis: String,
    /// Nobody has named the API: it may be that of `cargo xtask up`, and its logs are here.
    is_ours: bool,
}

/// What is known of a story, however far it came.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Whose it is.
    pub(crate) person: Option<Person>,
    /// The image.
    pub(crate) image: Option<String>,
    /// The task.
    pub(crate) task: Option<String>,
    /// The place of the last message before it began.
    pub(crate) since: f64,
}

/// Schemas that write events of the story.
const SCHEMAS: [&str; 5] = ["image", "scan", "character", "my", "notification"];

impl Place {
    /// Where the settings say, where they were given; else where `cargo xtask up --envoy` serves; an API that was named is somebody
    /// else's, and only they know the rest.
    ///
    /// # Errors
    /// Wrong settings.
    pub(crate) fn of(settings: &Settings, configured: bool, api: Option<&str>) -> anyhow::Result<Self> {
        if configured {
            let auth: coreloop_auth::Options = settings.section("auth").read()?;
            let database: coreloop_db::Options = settings.section("database").read()?;
            let redis: RedisOptions = settings.section("redis").read()?;
            let named = |url: Option<&str>, name: &str| url.map_or_else(|| format!("\"${name}\""), without_secrets);
            return Ok(Self {
                api: trimmed(api.unwrap_or(&auth.public_url)),
                collector: OtlpOptions::read(&settings.section("otlp"))?.endpoint,
                database: named(database.url.as_ref().map(|url| url.expose_secret()), "DATABASE_URL"),
                redis: named(redis.url.as_ref().map(|url| url.expose_secret()), "REDIS_URL"),
                is_ours: api.is_none(),
            });
        }
        let theirs = |name: &str, ours: &str| api.map_or_else(|| ours.to_owned(), |_| format!("\"${name}\""));
        Ok(Self {
            api: trimmed(api.unwrap_or("http://127.0.0.1:8000")),
            collector: api.is_none().then(|| "http://127.0.0.1:8090".to_owned()),
            database: theirs("DATABASE_URL", "postgres://127.0.0.1:15432/coreloop"),
            redis: theirs("REDIS_URL", "redis://127.0.0.1:16379"),
            is_ours: api.is_none(),
        })
    }

    /// The commands.
    pub(crate) fn commands(&self, trace: &str, known: &Known) -> String {
        let mut text = String::from("\nwhere to look\n");
        let mut line = |line: &str| {
            let _infallible = writeln!(text, "{line}");
        };
        line("# the trace; the collector of the sandbox draws it, any other has it under this id");
        match &self.collector {
            Some(collector) => line(&format!("curl -sS {}/_sandbox/traces/{trace}", collector.trim_end_matches('/'))),
            None => line(&format!("# {trace}")),
        }
        let Some(person) = &known.person else { return text };
        line("# by the API");
        self.calls(person, known).iter().for_each(|call| line(call));
        line("# in the tables; who may read them is another user than the services'");
        line(&format!("DB={}", self.database));
        queries(trace, person, known).iter().for_each(|query| line(&format!("psql \"$DB\" -c \"{query}\"")));
        line("# in Redis");
        let (redis, user) = (&self.redis, &person.user);
        line(&format!("redis-cli -u {redis} hgetall 'char:ownership:{user}'"));
        line(&format!("redis-cli -u {redis} xrange 'rt:{{{user}}}:log' - +"));
        line(&format!("redis-cli -u {redis} xrevrange events.scan.completed + - count 1"));
        if self.is_ours {
            line("# in the logs of `cargo xtask up`");
            line(&format!("grep {trace} .coreloop/logs/services.log"));
        }
        text
    }

    fn calls(&self, person: &Person, known: &Known) -> Vec<String> {
        let (api, json) = (&self.api, "-H 'content-type: application/json'");
        let token = match &person.account {
            Some((email, password)) => {
                let body = format!("{{\"email\":\"{email}\",\"password\":\"{password}\",\"device_id\":\"curl\"}}");
                let field = "sed -E 's/.*\"access_token\": ?\"([^\"]+)\".*/\\1/'";
                format!("TOKEN=$(curl -sS {api}{LOGIN} {json} -d '{body}' | {field})")
            }
            None => "TOKEN=…    # the one that was given".to_owned(),
        };
        let get = |path: &str| format!("curl -sS -H \"authorization: Bearer $TOKEN\" '{api}{path}'; echo");
        let one = |prefix: &str, id: &Option<String>| id.as_ref().map(|id| get(&format!("{prefix}{id}")));
        let mut calls = vec![token];
        calls.extend(one("/api/v1/image/", &known.image));
        calls.extend(one("/api/v1/scan/tasks/", &known.task));
        calls.extend(["/api/v1/character/me", "/api/v1/my/summary", "/api/v1/my/timeline"].map(get));
        calls.push(get("/api/v1/notifications?language=en"));
        calls.push(get(&format!("/api/realtime/replay?since={:.0}", known.since)));
        calls
    }
}

/// What to ask the tables.
fn queries(trace: &str, person: &Person, known: &Known) -> Vec<String> {
    let user = &person.user;
    let told = SCHEMAS.map(|schema| {
        format!(
            "select created_at, '{schema}' as by, type, traceparent from {schema}.outbox where trace_id = '{trace}'"
        )
    });
    let mut queries = vec![format!("{} order by 1", told.join(" union all "))];
    queries.extend(known.image.as_ref().map(|image| {
        format!("select state, category, confidence, reward_status, reward_reason from scan.tasks where image_id = '{image}'")
    }));
    queries.push(format!(
        "select sequence_number, event_type, payload from character.events where aggregate_id = '{user}' order by 1"
    ));
    queries.push(format!("select * from my.footprints where user_id = '{user}'"));
    queries.push(format!("select kind, template, params, created_at from notification.inbox where user_id = '{user}'"));
    queries
}

/// An address that paths can be put behind.
fn trimmed(address: &str) -> String {
    address.trim_end_matches('/').to_owned()
}

/// An address without user and password; as a shell takes it.
fn without_secrets(address: &str) -> String {
    let Ok(mut url) = address.parse::<Url>() else { return "…".to_owned() };
    let (_no_user, _no_password) = (url.set_username(""), url.set_password(None));
    format!("'{}'", url.as_str().replace('\'', "%27"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn known(account: Option<(&str, &str)>) -> Known {
        let account = account.map(|(email, password)| (email.to_owned(), password.to_owned()));
        let person = Some(Person { user: "u-1".to_owned(), account });
        Known { person, image: Some("i-1".to_owned()), task: Some("t-1".to_owned()), since: 1_795_341_600_123.0 }
    }

    #[test]
    fn an_api_that_was_named_is_somebody_elses() {
        let place = |api| Place::of(&Settings::defaults(), false, api).unwrap();
        let ours = place(None).commands("7", &known(None));
        for part in [
            "http://127.0.0.1:8090/_sandbox/traces/7",
            "127.0.0.1:15432/coreloop",
            "-u redis://127.0.0.1:16379 ",
            "grep 7 ",
        ] {
            assert!(ours.contains(part), "{part}: {ours}");
        }
        let theirs = place(Some("https://api.example.com")).commands("7", &known(None));
        assert!(theirs.contains("'https://api.example.com/api/v1/image/i-1'"), "{theirs}");
        assert!(theirs.contains("DB=\"$DATABASE_URL\"") && theirs.contains("-u \"$REDIS_URL\" "), "{theirs}");
        assert!(!theirs.contains("127.0.0.1") && !theirs.contains(".coreloop"), "{theirs}");
    }

    #[test]
    fn settings_that_were_given_say_where_without_their_secrets() {
        let toml = "[auth]\npublic_url = \"http://127.0.0.1:9000\"\n[database]\nurl = \"postgres://me:secret@db:5/x\"\n\
                    [redis]\nurl = \"redis://:hidden@r:6/0\"\n[otlp]\nendpoint = \"http://c:4317\"\n";
        let settings = Settings::defaults().with_toml("x", toml).unwrap();
        let place = Place::of(&settings, true, None).unwrap();
        assert_eq!(place.api, "http://127.0.0.1:9000");
        let commands = place.commands("7", &known(Some(("a@example.com", "demo-1"))));
        for part in
            ["DB='postgres://db:5/x'", "-u 'redis://r:6/0' ", "http://c:4317/_sandbox/traces/7", "since=1795341600123"]
        {
            assert!(commands.contains(part), "{part}: {commands}");
        }
        assert!(!commands.contains("secret") && !commands.contains("hidden"), "{commands}");
        assert_eq!(Place::of(&settings, true, Some("http://x/")).unwrap().api, "http://x");
    }

    #[test]
    fn a_story_that_did_not_begin_has_its_trace() {
        let place = Place::of(&Settings::defaults(), false, None).unwrap();
        let commands = place.commands("7", &Known::default());
        assert!(commands.contains("traces/7") && !commands.contains("psql"), "{commands}");
    }
}
