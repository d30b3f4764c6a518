//! What `up` prints when everything runs: where it is, and what to try first.

use std::path::Path;

use anyhow::Result;

use super::settings::{Ports, Urls};
use crate::place;

/// Password of the account in the tour; long, and in no list of breached ones.
const PASSWORD: &str = "lantern-harbour-42";

/// What the tour keeps: who signed up, and the session.
const ADA: &str = "ada.json";
const SESSION: &str = "session.json";

/// One line a part.
pub(super) fn table(ports: &Ports, urls: &Urls, envoy: bool) -> String {
    let http = |port: u16| format!("http://127.0.0.1:{port}");
    let mut rows: Vec<(String, String)> = Vec::new();
    if envoy {
        rows.push(("envoy".into(), http(ports.envoy)));
    }
    rows.push(("gateway".into(), http(ports.gateway)));
    rows.extend(ports.grpc.iter().map(|(name, port)| (name.clone(), format!("grpc://127.0.0.1:{port}"))));
    rows.push(("admin".into(), format!("{}/metrics", http(ports.admin))));
    rows.push(("sandbox".into(), http(ports.sandbox)));
    rows.push(("postgres".into(), urls.postgres.clone()));
    rows.push(("redis".into(), urls.redis.clone()));
    if envoy {
        rows.push(("envoy-admin".into(), http(ports.envoy_admin)));
    }
    let lines: Vec<String> = rows.iter().map(|(name, address)| format!("{name:<12} {address}")).collect();
    format!("\n{}\n", lines.join("\n"))
}

/// Makes the files that the tour writes, so that what it keeps in them is for its owner alone.
pub(super) fn prepare(private: &Path) -> Result<()> {
    [ADA, SESSION].iter().try_for_each(|name| place::write_secret(&private.join(name), ""))
}

/// Three commands to paste; they pass what they keep through files, so each works in a shell of its own and again.
pub(super) fn tour(private: &Path, ports: &Ports) -> String {
    let base = format!("http://127.0.0.1:{}/api/v1/auth", ports.front);
    let json = "-H 'content-type: application/json'";
    let ada = quoted(&private.join(ADA));
    let session = quoted(&private.join(SESSION));
    let body = format!("{{\"email\":\"ada-%s@example.com\",\"password\":\"{PASSWORD}\",\"nickname\":\"Ada\"}}");
    [
        "# sign up, with a new address each time".to_owned(),
        format!("curl -sS {base}/signup {json} -d \"$(printf '{body}' \"$(date +%s%N)\" | tee {ada})\"; echo"),
        "# sign in as the same person, and keep the token".to_owned(),
        format!("curl -sS {base}/login {json} -d @{ada} | tee {session}; echo"),
        "# ask who I am".to_owned(),
        format!(
            "curl -sS {base}/me -H \"authorization: Bearer $(sed -E 's/.*\"access_token\": ?\"([^\"]+)\".*/\\1/' {session})\"; echo"
        ),
        String::new(),
    ]
    .join("\n")
}

/// The command that lives a whole story, for who wants to see one.
pub(super) fn story(binary: &Path, settings: &Path) -> String {
    let (binary, settings) = (quoted(binary), quoted(settings));
    format!(
        "# see a photo become a character, live on a socket and in one trace\n{binary} --config {settings} demo eco\n"
    )
}

/// A path as one word of a shell, also within double quotes.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    fn ports() -> Ports {
        Ports {
            front: 3,
            envoy: 1,
            envoy_admin: 2,
            gateway: 3,
            admin: 4,
            sandbox: 5,
            postgres: 6,
            redis: 7,
            grpc: vec![("auth".into(), 8), ("edge".into(), 9)],
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_part() {
        let urls = Urls { postgres: "postgres://p".into(), redis: "redis://r".into() };
        let table = table(&ports(), &urls, true);
        for row in
            ["envoy        http://127.0.0.1:1", "gateway      http://127.0.0.1:3", "auth         grpc://127.0.0.1:8"]
        {
            assert!(table.contains(row), "{table}");
        }
        assert!(!super::table(&ports(), &urls, false).contains("envoy"));
    }

    #[test]
    fn the_story_is_one_command_of_the_binary_that_serves() {
        let story = story(Path::new("/a folder/coreloop"), Path::new("/b/coreloop.toml"));
        assert_eq!(story.lines().nth(1), Some("'/a folder/coreloop' --config /b/coreloop.toml demo eco"), "{story}");
    }

    /// The commands run as pasted, twice, against a curl that records what it is asked: a function of the shell, for a program
    /// that was written just now may still be open for writing in a process that another test starts.
    #[test]
    fn the_commands_work_as_pasted_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("a folder");
        fs::create_dir(&private).unwrap();
        let curl = format!(
            "curl() {{ for a; do printf '%s\\n' \"$a\" >> '{0}/asked'; done\ncase \"$*\" in *login*) echo '{{\"token_type\":\"Bearer\",\"access_token\":\"abc.def\",\"user\":{{}}}}';; esac; }}",
            dir.path().display()
        );
        let tour = tour(&private, &ports());
        let paste = format!("{curl}\n{tour}\n{tour}");
        assert!(Command::new("bash").args(["-euc", &paste]).status().unwrap().success());
        let asked = fs::read_to_string(dir.path().join("asked")).unwrap();
        assert_eq!(asked.matches("authorization: Bearer abc.def").count(), 2, "{asked}");
        assert_eq!(asked.matches("http://127.0.0.1:3/api/v1/auth/signup").count(), 2, "{asked}");
        let addresses: std::collections::BTreeSet<&str> = asked.lines().filter(|line| line.starts_with('{')).collect();
        assert_eq!(addresses.len(), 2, "each paste signs up somebody new: {asked}");
    }
}
