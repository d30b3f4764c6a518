//! Rules about the protos: what every RPC must say.

use super::{Finding, scan::File};

/// The labelled lines that end an RPC's comment, in order.
const LABELS: &[&str] = &["Permission:", "Idempotency:", "Emits:", "Reasons:"];

const WHY_COMMENT: &str = "documentation, tests and OpenAPI are derived from it, and a caller reads it first";
const WHY_ACCESS: &str = "who may call is decided from the option alone; without it the RPC is denied to everybody";

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let ours = |file: &&File| file.kind() == "proto" && file.path.starts_with("proto/coreloop/");
    let mut found: Vec<Finding> = files.iter().filter(ours).flat_map(rpcs).collect();
    let tests: String = files.iter().filter(|file| file.kind() == "rs").flat_map(tests_of).collect();
    // Without any test in sight it is not the checkout that is looked at.
    if !tests.is_empty() {
        found.extend(files.iter().filter(ours).flat_map(|file| unnamed(file, &tests)));
    }
    found
}

fn tests_of(file: &File) -> impl Iterator<Item = String> {
    file.test_code().map(|(_, line)| format!("{line}\n"))
}

/// RPCs that no test names: by their name, as a Rust client calls them, or by a REST path.
fn unnamed(file: &File, tests: &str) -> Vec<Finding> {
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("rpc ").and_then(|rest| rest.split(['(', ' ']).next()) else { continue };
        let own = lines.iter().skip(index + 1).take_while(|line| !line.starts_with("rpc "));
        let paths = own.filter_map(|line| line.split('"').nth(1)).filter(|path| path.starts_with('/'));
        let stems = paths.map(|path| path.split('{').next().unwrap_or(path).to_owned());
        let call = format!(".{}(", crate::scaffold::snake(name));
        let mut marks = stems.chain([name.to_owned(), call]);
        if !marks.any(|mark| tests.contains(&mark)) {
            found.push(Finding {
                place: format!("{}:{}", file.path, index + 1),
                what: format!("{name}: no test names it, calls it or asks one of its paths"),
                why: "an RPC without a test of its own is known to work by nobody",
            });
        }
    }
    found
}

fn rpcs(file: &File) -> Vec<Finding> {
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("rpc ").and_then(|rest| rest.split(['(', ' ']).next()) else { continue };
        let place = format!("{}:{}", file.path, index + 1);
        let before = lines.get(..index).unwrap_or_default();
        if let Some(what) = comment(before) {
            found.push(Finding { place: place.clone(), what: format!("{name}: {what}"), why: WHY_COMMENT });
        }
        let body = lines.get(index..).unwrap_or_default();
        if !has_access(body) {
            found.push(Finding { place, what: format!("{name}: no access option with a level"), why: WHY_ACCESS });
        }
    }
    found
}

/// What is wrong with the comment above, if anything.
fn comment(before: &[&str]) -> Option<String> {
    let mut comment: Vec<&str> = before.iter().rev().map_while(|line| line.strip_prefix("//")).map(str::trim).collect();
    comment.reverse();
    let what = comment.len().checked_sub(LABELS.len()).filter(|lines| *lines > 0);
    let Some(what) = what else { return Some(format!("the comment needs a sentence, then {}", LABELS.join(", "))) };
    let labelled = comment.iter().skip(what);
    let wrong = LABELS
        .iter()
        .zip(labelled)
        .find(|(label, line)| line.strip_prefix(**label).is_none_or(|rest| rest.trim().is_empty()));
    wrong.map(|(label, line)| format!("`{label} …` expected where the comment says `{line}`"))
}

/// Whether the RPC that begins here states a level.
fn has_access(body: &[&str]) -> bool {
    let end = body.iter().skip(1).position(|line| line.starts_with("rpc ")).map_or(body.len(), |next| next + 1);
    let own = body.get(..end).unwrap_or_default().join(" ");
    let Some((_, option)) = own.split_once("option (coreloop.option.v1.access) = {") else { return false };
    let option = option.split('}').next().unwrap_or_default();
    option.contains("level: LEVEL_") && !option.contains("LEVEL_UNSPECIFIED")
}

#[cfg(test)]
mod tests {
    use super::{super::scan::planted, *};

    const GOOD: &str = "service A {\n  // Does it.\n  // Permission: public.\n  // Idempotency: read only.\n  // Emits: nothing.\n  // Reasons: none.\n  rpc Do(DoRequest) returns (DoResponse) {\n    option (coreloop.option.v1.access) = {level: LEVEL_PUBLIC};\n  }\n";

    fn found(text: &str) -> Vec<String> {
        check(&planted("proto/coreloop/a/v1/a.proto", text)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_complete_rpc_passes() {
        assert!(found(GOOD).is_empty(), "{:?}", found(GOOD));
    }

    #[test]
    fn a_missing_or_empty_line_is_found() {
        assert_eq!(found(&GOOD.replace("  // Emits: nothing.\n", "")).len(), 1);
        assert_eq!(found(&GOOD.replace("Emits: nothing.", "Emits:")).len(), 1);
        assert_eq!(found(&GOOD.replace("  // Does it.\n", "")).len(), 1);
    }

    #[test]
    fn an_rpc_that_no_test_names_is_found() {
        let named = |test: &str| {
            let mut files = planted("proto/coreloop/a/v1/a.proto", GOOD);
            files.extend(planted("tests/it/a.rs", test));
            check(&files).len()
        };
        assert_eq!(named("client.other(request)"), 1);
        assert_eq!(named("client.do(request)"), 0);
        assert_eq!(named("call(\"coreloop.a.v1.A/Do\")"), 0);
    }

    #[test]
    fn a_missing_access_option_is_found_and_not_borrowed_from_the_next_rpc() {
        let none = GOOD.replace("    option (coreloop.option.v1.access) = {level: LEVEL_PUBLIC};\n", "");
        assert_eq!(found(&none), ["Do: no access option with a level"]);
        let second = GOOD.split_once('\n').unwrap().1.replace("rpc Do(", "rpc Next(");
        assert_eq!(found(&format!("{none}{second}")), ["Do: no access option with a level"]);
        assert_eq!(found(&GOOD.replace("LEVEL_PUBLIC", "LEVEL_UNSPECIFIED")).len(), 1);
    }
}
