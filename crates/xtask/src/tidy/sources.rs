//! Rules about what may be written where. Each is a pattern, the places it belongs to, and the reason.

use super::{Finding, scan::File};

/// Text that belongs only to certain places.
struct Rule {
    /// Any of these in a line of product code.
    patterns: &'static [&'static str],
    /// Path prefixes, or parts when they begin with `/`, where it belongs.
    home: &'static [&'static str],
    what: &'static str,
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        patterns: &["sqlx::query", "query!(", "query_as!(", "query_scalar!(", "sqlx::raw_sql"],
        home: &[
            "/store/",
            "/store.rs",
            "crates/db/",
            "crates/idempotency/",
            "crates/bench/",
            "crates/prove/",
            "crates/xtask/",
        ],
        what: "SQL outside a store",
        why: "who changes a table reads one folder to see all that touches it",
    },
    Rule {
        patterns: &[
            "Status::new(",
            "Status::with_details",
            "Status::with_error_details",
            "Status::internal(",
            "Status::unauthenticated(",
            "Status::permission_denied(",
            "Status::not_found(",
            "Status::invalid_argument(",
            "Status::unavailable(",
            "Status::unimplemented(",
            "Status::already_exists(",
            "Status::failed_precondition(",
            "Status::resource_exhausted(",
            "Status::aborted(",
            "Status::cancelled(",
            "Status::deadline_exceeded(",
            "Status::unknown(",
        ],
        home: &["crates/core/", "crates/xtask/"],
        what: "a Status built outside core",
        why: "every error has a kind, a stable reason and its details only if one place makes them",
    },
    Rule {
        patterns: &["env::var", "env::vars", "env::set_var", "env::remove_var"],
        home: &["crates/config/", "crates/xtask/", "crates/testkit/"],
        what: "the environment is read or changed",
        why: "settings are read in one place, which reports every error at once",
    },
    Rule {
        patterns: &["Timestamp::now(", "Zoned::now(", "SystemTime::now(", "Uuid::now_v7("],
        home: &["crates/core/", "crates/xtask/", "crates/bench/", "crates/sandbox/"],
        what: "time or an id taken from the machine",
        why: "time and ids are injected, so that tests move time instead of sleeping",
    },
    Rule {
        patterns: &["tokio::spawn(", "task::spawn(", "runtime.spawn(", "Handle::current().spawn("],
        home: &["crates/server/", "crates/sandbox/", "crates/coreloop/", "crates/bench/", "crates/xtask/"],
        what: "a task nobody waits for",
        why: "a domain hands back a Worker: the server drains it, restarts it and shows it",
    },
];

/// Places that may, with what makes them an exception: (path, pattern, reason).
///
/// A test fails when an entry excuses nothing any more.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "crates/server/src/reply.rs",
        "Status::with_details_and_metadata",
        "passes on what core made without its source, or hides what core did not make",
    ),
    ("crates/server/src/reply.rs", "Status::cancelled(", "is logged and counted; nobody is there to be sent it"),
    (
        "crates/db/src/transaction.rs",
        "tokio::spawn(sqlx::Transaction::begin(connection, None))",
        "one answer of Postgres is awaited; a caller who gives up must not cut it off",
    ),
    (
        "services/auth/src/guard.rs",
        "tokio::spawn(statement)",
        "one statement is awaited; a caller who gives up must not leave a place that nobody settles",
    ),
    (
        "services/auth/src/guard.rs",
        "tokio::spawn(async move {",
        "settles a try whose caller went away, by one statement; what does not run counts as stale in seconds",
    ),
    (
        "crates/db/src/growth.rs",
        "tokio::spawn(async move {",
        "one statement that nobody needs: what does not run is done by autovacuum",
    ),
    (
        "crates/db/src/grouped.rs",
        "tokio::spawn(async move {",
        "looks once, milliseconds later, whether somebody waits for what stands still",
    ),
    (
        "crates/db/src/grouped.rs",
        "tokio::spawn(Arc::clone(self).drain(lane))",
        "a batch is of many callers: it goes on when one of them goes away, and ends when nothing waits",
    ),
    (
        "crates/eventing-rabbitmq/src/reader.rs",
        "runtime.spawn(async move {",
        "saying goodbye to the broker takes an answer, and a drop cannot wait for one",
    ),
    (
        "crates/eventing-sqs/src/reader.rs",
        "runtime.spawn(async move {",
        "asks for more time while commands are worked on, or gives them back; ends with the reader, or its one request",
    ),
    (
        "gateway/src/linger.rs",
        "runtime.spawn(async move {",
        "throws away what a refused client still sends, for two seconds at most; nothing is lost when it does not run",
    ),
    (
        "services/auth/src/revoke.rs",
        "tokio::spawn(",
        "the task is waited for; it is one so that publishing goes on when the caller goes away",
    ),
];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    check_noting(files, &mut vec![false; EXCEPTIONS.len()])
}

/// As [`check`], and notes which exceptions excused something.
fn check_noting(files: &[File], used: &mut [bool]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        if file.is_source() {
            for rule in RULES.iter().filter(|rule| !rule.home.iter().any(|home| at(&file.path, home))) {
                found.extend(misplaced(file, rule, EXCEPTIONS, used));
            }
        }
        if file.kind() == "rs" && !file.generated() {
            found.extend(in_tests(file));
        }
    }
    found
}

fn at(path: &str, home: &str) -> bool {
    if home.starts_with('/') { path.contains(home) } else { path.starts_with(home) }
}

fn misplaced(file: &File, rule: &Rule, exceptions: &[(&str, &str, &str)], used: &mut [bool]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut before = "";
    for (number, line) in file.code() {
        // What clippy was told in place, with a reason, is not asked again.
        let told = std::mem::replace(&mut before, line).contains("#[expect(clippy::disallowed_methods");
        if told {
            continue;
        }
        let Some(pattern) = rule.patterns.iter().find(|pattern| contains_word(line, pattern)) else { continue };
        let excused = exceptions.iter().position(|(path, what, _)| *path == file.path && line.contains(what));
        if let Some(used) = excused.and_then(|index| used.get_mut(index)) {
            *used = true;
            continue;
        }
        found.push(Finding {
            place: format!("{}:{number}", file.path),
            what: format!("{}: `{pattern}`", rule.what),
            why: rule.why,
        });
    }
    found
}

/// Whether the pattern stands in the line as a name of its own, so that `MyStatus::new(` is not `Status::new(`.
fn contains_word(line: &str, pattern: &str) -> bool {
    line.match_indices(pattern).any(|(index, _)| {
        let before = line.get(..index).unwrap_or_default().chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
    })
}

fn in_tests(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if line.trim_start().starts_with(concat!("#[ign", "ore")) {
            found.push(Finding {
                place: format!("{}:{number}", file.path),
                what: "an ignored test".to_owned(),
                why: "a test that does not run proves nothing; delete it or make it run",
            });
        }
    }
    let mut recent = [""; 3];
    // The test kit is what tests wait and slow others down with.
    for (number, line) in file.test_code().filter(|_| !file.path.starts_with("crates/testkit/")) {
        let sleeps = [concat!("time::sl", "eep("), concat!("thread::sl", "eep("), concat!(" sl", "eep(")];
        let sleeps = !line.trim_start().starts_with("//") && sleeps.iter().any(|sleep| line.contains(sleep));
        // A look at the clock just before makes it a wait for a condition, with an end.
        let bounded = recent.iter().any(|line| line.contains("Instant::now()") || line.contains(".elapsed()"));
        recent = [recent[1], recent[2], line];
        if sleeps && !bounded {
            found.push(Finding {
                place: format!("{}:{number}", file.path),
                what: "a sleep in a test".to_owned(),
                why: "it is too short on a busy machine and too long on others; wait for a condition or move the clock",
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{super::scan::planted, *};

    fn places(path: &str, text: &str) -> Vec<String> {
        check(&planted(path, text)).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn every_rule_finds_each_of_its_patterns_away_from_home_and_none_at_home() {
        for rule in RULES {
            for pattern in rule.patterns {
                let text = format!("fn a() {{\n    let b = {pattern}x);\n}}\n");
                assert_eq!(places("services/x/src/y.rs", &text), ["services/x/src/y.rs:2"], "{pattern}");
                for home in rule.home {
                    let path = if home.starts_with('/') { format!("services/x/src{home}") } else { home.to_string() };
                    let path = if path.ends_with(".rs") { path } else { format!("{path}z.rs") };
                    let mine = check(&planted(&path, &text)).iter().any(|finding| finding.why == rule.why);
                    assert!(!mine, "{pattern} in {path}");
                }
            }
        }
    }

    #[test]
    fn longer_names_and_comments_are_not_taken_for_a_pattern() {
        assert!(places("services/x/src/y.rs", "// Status::new(\nlet a = MyStatus::new(1);\n").is_empty());
    }

    #[test]
    fn what_clippy_was_told_in_place_is_not_asked_again() {
        let told = "#[expect(clippy::disallowed_methods, reason = \"r\")]\nlet a = Timestamp::now();\n";
        assert!(places("services/x/src/y.rs", told).is_empty());
        assert_eq!(places("services/x/src/y.rs", &format!("{told}let b = Timestamp::now();\n")).len(), 1);
    }

    #[test]
    fn an_exception_excuses_its_own_line_only() {
        let file = planted("services/x/src/y.rs", "tokio::spawn(a);\n").pop().unwrap();
        let rule = RULES.last().unwrap();
        let rule = RULES.iter().find(|rule| rule.patterns.contains(&"tokio::spawn(")).unwrap_or(rule);
        let mut used = [false];
        let excuse = [("services/x/src/y.rs", "tokio::spawn(a)", "why")];
        assert!(misplaced(&file, rule, &excuse, &mut used).is_empty());
        assert!(used[0]);
        let other = [("services/x/src/y.rs", "tokio::spawn(b)", "why")];
        assert_eq!(misplaced(&file, rule, &other, &mut [false]).len(), 1);
    }

    #[test]
    fn every_exception_still_excuses_something() {
        let files = File::all(&crate::place::root().unwrap()).unwrap();
        let mut used = vec![false; EXCEPTIONS.len()];
        check_noting(&files, &mut used);
        let unused: Vec<_> = EXCEPTIONS.iter().zip(used).filter(|(_, used)| !used).map(|(entry, _)| entry).collect();
        assert!(unused.is_empty(), "delete these: {unused:?}");
    }

    #[test]
    fn ignored_tests_and_sleeps_are_found() {
        let ignored = format!("    {}]\n    fn a() {{}}\n", concat!("#[ign", "ore"));
        assert_eq!(places("tests/it/a.rs", &ignored), ["tests/it/a.rs:1"]);
        let sleep = format!("    tokio::{}d).await;\n", concat!("time::sl", "eep("));
        assert_eq!(places("tests/it/a.rs", &sleep), ["tests/it/a.rs:1"]);
        let polled = format!("    while !holds() {{\n        assert!(Instant::now() < end);\n{sleep}    }}\n");
        assert!(places("tests/it/a.rs", &polled).is_empty());
        let inline = format!("fn p() {{\n{sleep}}}\n#[cfg(test)]\nmod tests {{\n{sleep}}}\n");
        assert_eq!(places("crates/a/src/b.rs", &inline), ["crates/a/src/b.rs:6"]);
    }
}
