//! What people write wrong, and what they are told.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::{DEFAULTS, Errors, Section, Settings};

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Options {
    ttl_secs: u32,
    name: String,
    ratio: f64,
    on: bool,
    hosts: Vec<String>,
    kind: Kind,
    mesh_secret: Option<SecretString>,
    inner: Inner,
    ports: BTreeMap<String, u16>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Plain,
    Fancy,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Inner {
    deep: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ttl_secs: 900,
            name: "x".into(),
            ratio: 0.5,
            on: false,
            hosts: Vec::new(),
            kind: Kind::Plain,
            mesh_secret: None,
            inner: Inner::default(),
            ports: BTreeMap::new(),
        }
    }
}

fn lines(errors: Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn every_problem_at_once_with_its_line() {
    let text = "ttl_sec = 5\nttl_secs = \"soon\"\nratio = true\nkind = \"odd\"\nmesh_secret = 7\n\n[inner]\ndeep = 300\ndep = 1\n[ports]\nauth = 70000\nok = 1";
    let errors = Section::from_toml("auth", text).unwrap().read::<Options>().unwrap_err();
    let mut found = lines(errors);
    found.sort();
    assert_eq!(
        found,
        [
            "text:11: auth.ports.auth: invalid value: integer `70000`, expected u16",
            "text:1: auth.ttl_sec: unknown key, did you mean `ttl_secs`?",
            "text:2: auth.ttl_secs: invalid type: string \"soon\", expected u32",
            "text:3: auth.ratio: invalid type: boolean `true`, expected f64",
            "text:4: auth.kind: unknown variant `odd`, expected `plain` or `fancy`",
            "text:5: auth.mesh_secret: has a wrong type or is not acceptable",
            "text:8: auth.inner.deep: invalid value: integer `300`, expected u8",
            "text:9: auth.inner.dep: unknown key, did you mean `deep`?",
        ]
    );
}

#[test]
fn variables_win_and_take_the_type_asked_for() {
    let variables = [
        ("CORELOOP_AUTH__TTL_SECS", "60"),
        ("CORELOOP_AUTH__NAME", "12"),
        ("CORELOOP_AUTH__RATIO", "1"),
        ("CORELOOP_AUTH__ON", "true"),
        ("CORELOOP_AUTH__HOSTS", "a, b"),
        ("CORELOOP_AUTH__KIND", "fancy"),
        ("CORELOOP_AUTH__MESH_SECRET", "hush-hush"),
        ("CORELOOP_AUTH__INNER__DEEP", "7"),
        ("CORELOOP_AUTH__PORTS__AUTH", "7001"),
        ("CORELOOP_CONFIG", "not a setting"),
        ("PATH", "/bin"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::layered(&[], variables).unwrap();
    let options: Options = only(&settings);
    assert_eq!((options.ttl_secs, options.name.as_str(), options.on), (60, "12", true));
    assert_eq!((options.hosts, options.kind, options.inner.deep), (vec!["a".into(), "b".into()], Kind::Fancy, 7));
    assert_eq!(options.ports.get("auth"), Some(&7001));
    assert_eq!(options.mesh_secret.unwrap().expose_secret(), "hush-hush");
}

/// The section without the keys of the real one.
fn only(settings: &Settings) -> Options {
    let text = settings.print();
    assert!(!text.contains("hush-hush"), "{text}");
    assert!(text.contains("mesh_secret = \"[redacted]\"  # CORELOOP_AUTH__MESH_SECRET"), "{text}");
    let keys = ["ttl_secs", "name", "ratio", "on", "hosts", "kind", "mesh_secret", "inner", "ports"];
    settings.section("auth").keep(&keys).read().unwrap()
}

#[test]
fn a_wrong_variable_is_named() {
    let variables =
        [("CORELOOP_OTLP__RATIO".to_owned(), "much".to_owned()), ("CORELOOP_OLTP__X".to_owned(), "1".to_owned())];
    let errors = Settings::layered(&[], variables.clone()).unwrap_err();
    assert_eq!(lines(errors), ["CORELOOP_OLTP__X: oltp: unknown section, did you mean `otlp`?"]);
    #[derive(Debug, Deserialize)]
    struct Otlp {
        #[serde(rename = "ratio")]
        _ratio: f64,
    }
    let settings = Settings::layered(&[], variables.into_iter().take(1)).unwrap();
    let errors = settings.section("otlp").keep(&["ratio"]).read::<Otlp>().unwrap_err();
    assert_eq!(lines(errors)[0], "CORELOOP_OTLP__RATIO: otlp.ratio: invalid type: string \"much\", expected f64");
}

#[test]
fn files_are_layered_and_their_troubles_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
    std::fs::write(&first, "mode = \"local\"\n[server]\nhost = \"0.0.0.0\"\nadmin_port = 1\n").unwrap();
    std::fs::write(&second, "[server]\nadmin_port = 2\n").unwrap();
    let settings = Settings::layered(&[first, second.clone()], []).unwrap();
    let text = settings.print();
    assert!(text.contains("mode = \"local\""), "{text}");
    assert!(text.contains(&format!("admin_port = 2  # {}:2", second.display())), "{text}");

    std::fs::write(&second, "[server\nport = \n").unwrap();
    let errors = Settings::layered(&[second, folder.path().join("none.toml")], []).unwrap_err();
    let found = lines(errors);
    assert!(found.iter().any(|line| line.contains("b.toml:1")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("none.toml: cannot be read")), "{found:?}");
}

#[test]
fn checks_add_to_the_list() {
    let section = Section::from_toml("auth", "ttl_secs = 0\nbad = 1").unwrap();
    let errors = section
        .read_with(|options: &Options, report| {
            report.within("ttl_secs", options.ttl_secs, 1, 86_400);
            report.require_secret("mesh_secret", options.mesh_secret.as_ref());
        })
        .unwrap_err();
    assert_eq!(
        lines(errors),
        [
            "text:2: auth.bad: unknown key",
            "text:1: auth.ttl_secs: must be 1 to 86400, is 0",
            "auth.mesh_secret: is required; set it in a file or as CORELOOP_AUTH__MESH_SECRET",
        ]
    );
}

#[test]
fn what_is_no_number_is_within_nothing() {
    for text in ["ratio = nan", "ratio = inf", "ratio = -0.1"] {
        let section = Section::from_toml("otlp", text).unwrap();
        let read = section.read_with(|options: &Options, report| report.within("ratio", options.ratio, 0.0, 1.0));
        assert!(lines(read.unwrap_err())[0].starts_with("text:1: otlp.ratio: must be 0 to 1, is "), "{text}");
    }
}

#[test]
fn names_of_tables_are_checked_against_those_there_are() {
    let section = Section::from_toml("server", "[ports]\nauth = 1\nauht = 2\nwallet = 3").unwrap();
    let read = section.keep(&["ports"]).read_with(|_: &Options, report| report.only("ports", &["auth", "edge"]));
    assert_eq!(
        lines(read.unwrap_err()),
        ["text:3: server.ports.auht: unknown key, did you mean `auth`?", "text:4: server.ports.wallet: unknown key"]
    );
    let section = Section::from_toml("peers", "wallet = \"x\"").unwrap();
    let read = section.read_with(|_: &BTreeMap<String, String>, report| report.only("", &["auth"]));
    assert_eq!(lines(read.unwrap_err()), ["text:1: peers.wallet: unknown key"]);
}

#[test]
fn the_defaults_are_readable() {
    assert!(DEFAULTS.lines().all(|line| line.len() <= 120));
    let text = Settings::defaults().print();
    assert!(text.contains("[database]"), "{text}");
    assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
}

/// Wherever an address may carry a password, it is not shown; what else it says is.
#[test]
fn passwords_in_addresses_are_not_shown() {
    for (address, shown) in [
        ("postgres://me:hunter2@host/db", "postgres://me:redacted@host/db"),
        ("redis://:hunter2@host/1", "redis://:redacted@host/1"),
        ("postgres://host/db?password=hunter2&sslmode=require", "postgres://host/db?password=redacted&sslmode=require"),
        ("postgres://me:hunter2@host/db?Password=hunter2", "postgres://me:redacted@host/db?Password=redacted"),
        ("redis+unix:///run/redis.sock?db=1&pass=hunter2", "redis+unix:///run/redis.sock?db=1&pass=redacted"),
        ("unix:/run/redis.sock?pass=hunter2", "unix:/run/redis.sock?pass=redacted"),
        // The password holds what ends a host.
        ("postgres://me:a#hunter2@host/db", "[redacted]"),
        ("postgres://me:12#hunter2@host/db", "[redacted]"),
        ("postgres://me:12/hunter2@host/db", "[redacted]"),
        ("postgres://me@host/db?sslmode=require", "postgres://me@host/db?sslmode=require"),
        ("coreloop://auth/reset?token={token}", "coreloop://auth/reset?token={token}"),
        ("no-reply@coreloop.example", "no-reply@coreloop.example"),
    ] {
        let settings = Settings::defaults().with("database.url", address).with("auth.list", vec![address.to_owned()]);
        let text = settings.print();
        // Some are defaults too.
        assert!(text.matches(&format!("\"{shown}\"")).count() >= 2, "{address}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn secrets_are_not_shown_in_any_shape() {
    let text = "[auth]\nmesh_secret = \"hunter2\"\n[auth.master_key]\nhalf = \"hunter2\"\n[auth.social.a]\nclient_secret = \"hunter2\"\n";
    let settings = Settings::defaults().with_toml("x", text).unwrap().with("auth.token", vec!["hunter2".to_owned()]);
    for shown in [settings.print(), format!("{settings:?}"), format!("{:?}", settings.section("auth"))] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let wrong = Section::from_toml("auth", "hosts = 1\n[ports]\nmesh_secret = \"hunter2\"").unwrap();
    let told = format!("{:?}", wrong.keep(&["ports"]).read::<Options>().unwrap_err());
    assert!(told.contains("mesh_secret") && !told.contains("hunter2"), "{told}");
}
