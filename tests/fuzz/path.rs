//! Paths: what the matcher finds is what was sent, and nothing is found by another spelling.

use coreloop_transcode::{
    router::{self, Match, Route, Router, Vars},
    template::Segment,
};

use crate::{drive::fuzz, odd};

const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE", "SEARCH", "OPTIONS", "get", ""];
const WORDS: &[&[u8]] = &[
    b"/",
    b"//",
    b"/.",
    b"/..",
    b"%2e",
    b"%2F",
    b"%2f",
    b"%",
    b"%00",
    b"%zz",
    b"%c3%28",
    b"%ea%b0%80",
    b":",
    b":stat",
    b":undelete",
    b"?",
    b"#",
    b"*",
    b"**",
    b"{",
    b"}",
    b"v1",
    b"m",
    b"fixed",
    b"shops",
    b"items",
    b"files",
    b"special",
    b"api",
    b"auth",
    b"me",
    b"\xff",
    b"\xc3\xa9",
    b";",
    b"\\",
    b"%5c",
    b"%252f",
    b"@",
    b"+",
];

/// One path of each template.
pub fn corpus(routers: [&Router; 2]) -> Vec<Vec<u8>> {
    let routes = routers.into_iter().flat_map(Router::routes);
    routes.map(|route| route.template.fill(|at| format!("a{at}")).into_bytes()).collect()
}

/// The path that the captures are of; none when the template has wildcards that are not captured.
fn rebuilt(route: &Route, vars: &Vars<'_>) -> Option<String> {
    let (mut path, mut at) = (String::new(), 0);
    while at < route.template.segments().len() {
        let variable = route.template.variables().iter().position(|variable| variable.start == at);
        let part = match (variable, &route.template.segments()[at]) {
            (Some(index), _) => {
                at = route.template.variables()[index].end;
                vars.raw(index).unwrap()
            }
            (None, Segment::Literal(text)) => {
                at += 1;
                text
            }
            (None, _) => return None,
        };
        if !part.is_empty() {
            path.push('/');
            path.push_str(part);
        }
    }
    if let Some(verb) = route.template.verb() {
        path.push(':');
        path.push_str(verb);
    }
    Some(path)
}

fn holds(router: &Router, method: &str, target: &str) -> bool {
    let path = target.split(['?', '#']).next().unwrap();
    match router.find(method, target) {
        Match::Found { route, vars } => {
            assert!(route.http_method == method || route.http_method == "*");
            if let Some(rebuilt) = rebuilt(route, &vars) {
                assert_eq!(rebuilt, path, "{}", route.template);
            }
            for index in 0..vars.len() {
                let value = vars.decode(route, index).expect("a capture decodes");
                assert!(value.len() <= path.len());
            }
            for segment in path.split('/').skip(1) {
                let plain = segment.to_ascii_lowercase().replace("%2e", ".");
                assert!(!["", ".", ".."].contains(&plain.as_str()), "{path} is found");
            }
            true
        }
        Match::WrongMethod { allow } => {
            assert!(!allow.is_empty());
            for other in allow.split(", ") {
                let there = matches!(router.find(other, target), Match::Found { .. } | Match::BadEscape);
                assert!(there, "{other} {path} is not found");
            }
            false
        }
        Match::NotFound | Match::BadEscape => false,
    }
}

#[test]
fn paths() {
    let routers = [odd::router(), router::router()];
    fuzz("paths", corpus(routers), WORDS, |input, random| {
        let target = String::from_utf8_lossy(input);
        let method = random.of(METHODS);
        let found = routers.map(|router| holds(router, method, &target));
        found.contains(&true)
    });
}
