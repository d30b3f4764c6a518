//! Rules about files as such: names, sizes, what must be there, what no file may say.

use super::{Finding, scan::File};

/// Longest file, its tests not counted.
const LONGEST: usize = 400;

/// File and module names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        found.extend(names(file));
        found.extend(size(file));
        found.extend(unfinished(file));
        found.extend(machine(file));
    }
    found.extend(readmes(files));
    found
}

fn names(file: &File) -> Option<Finding> {
    if file.kind() != "rs" {
        return None;
    }
    if file.name() == "mod.rs" {
        return Some(Finding {
            place: file.path.clone(),
            what: "is a mod.rs".to_owned(),
            why: "ten tabs named mod.rs cannot be told apart; name the file after its module",
        });
    }
    let empty = file.path.split(['/', '.']).find(|part| EMPTY_NAMES.contains(part))?;
    Some(Finding {
        place: file.path.clone(),
        what: format!("`{empty}` names no idea"),
        why: "a room without a subject collects everything; name it after what it knows",
    })
}

fn size(file: &File) -> Option<Finding> {
    let lines = file.tests_begin();
    (file.is_source() && lines > LONGEST).then(|| Finding {
        place: file.path.clone(),
        what: format!("{lines} lines, at most {LONGEST}"),
        why: "a file holds one idea and is read in one sitting",
    })
}

fn unfinished(file: &File) -> Vec<Finding> {
    // Written apart, so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    hits(file, &marks, |mark| Finding {
        place: String::new(),
        what: format!("`{mark}`"),
        why: "what is left to do is an issue, where somebody sees it",
    })
}

/// Paths of the machine something was written on.
fn machine(file: &File) -> Vec<Finding> {
    let marks = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("../sha", "red"),
        concat!("/tmp/br", "ief"),
        concat!("/tmp/", "dl/"),
    ];
    hits(file, &marks, |mark| Finding {
        place: String::new(),
        what: format!("`{mark}` is a path of one machine"),
        why: "a reader of the repository has no such place",
    })
}

fn hits(file: &File, marks: &[&str], finding: impl Fn(&str) -> Finding) -> Vec<Finding> {
    if file.generated() || file.name() == "Cargo.lock" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
            found.push(Finding { place: format!("{}:{}", file.path, index + 1), ..finding(mark) });
        }
    }
    found
}

fn readmes(files: &[File]) -> Vec<Finding> {
    let mut services: Vec<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("services/")?.split_once('/').map(|(name, _)| name))
        .collect();
    services.dedup();
    services
        .into_iter()
        .map(|service| format!("services/{service}/README.md"))
        .filter(|readme| !files.iter().any(|file| file.path == *readme))
        .map(|readme| Finding {
            place: readme,
            what: "is missing".to_owned(),
            why: "a service says what it owns, promises, emits, hears, calls and limits",
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::scan::planted, *};

    #[test]
    fn empty_names_are_found() {
        assert_eq!(check(&planted("crates/a/src/mod.rs", "")).len(), 1);
        assert_eq!(check(&planted("crates/a/src/utils.rs", "")).len(), 1);
        assert_eq!(check(&planted("crates/common/src/lib.rs", "")).len(), 1);
        assert!(check(&planted("crates/a/src/commons.rs", "")).is_empty());
    }

    #[test]
    fn long_files_are_found_and_their_tests_do_not_count() {
        assert_eq!(check(&planted("crates/a/src/b.rs", &"x();\n".repeat(401))).len(), 1);
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x();\n".repeat(400), "y();\n".repeat(200));
        assert!(check(&planted("crates/a/src/b.rs", &tested)).is_empty());
        assert!(check(&planted("crates/a/src/gen/b.rs", &"x();\n".repeat(900))).is_empty());
    }

    #[test]
    fn unfinished_work_is_found_with_its_line() {
        let found = check(&planted("crates/a/src/b.rs", &format!("a();\n// {} later\n", concat!("TO", "DO"))));
        assert_eq!(found.first().map(|finding| finding.place.as_str()), Some("crates/a/src/b.rs:2"));
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        assert_eq!(check(&planted("docs/a.md", concat!("see /wo", "rk/here"))).len(), 1);
        assert!(check(&planted("docs/a.md", "a framework/here")).is_empty());
    }

    #[test]
    fn a_service_without_a_readme_is_found() {
        let found = check(&planted("services/wallet/src/lib.rs", ""));
        assert_eq!(found.first().map(|finding| finding.place.as_str()), Some("services/wallet/README.md"));
        let mut both = planted("services/wallet/src/lib.rs", "");
        both.extend(planted("services/wallet/README.md", "# wallet"));
        assert!(check(&both).is_empty());
    }
}
