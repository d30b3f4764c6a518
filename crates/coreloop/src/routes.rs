//! `coreloop routes`: what the descriptors say of every RPC.

use std::fmt::Write as _;

use coreloop_transcode::{
    descriptor, options,
    pb::option::{Access, Level, LimitSubject, RateLimit},
    router,
};
use prost_reflect::MethodDescriptor;
use serde_json::{Value, json};

/// How to list.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Lists every RPC of ours.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let rows: Vec<Row> = methods().map(|method| Row::of(&method)).collect();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows.iter().map(Row::json).collect::<Vec<_>>())?);
    } else {
        print!("{}", table(&rows));
    }
    Ok(())
}

fn methods() -> impl Iterator<Item = MethodDescriptor> {
    let services = descriptor::pool().services().filter(|service| service.full_name().starts_with("coreloop."));
    services.flat_map(|service| service.methods().collect::<Vec<_>>())
}

struct Row {
    rpc: String,
    paths: Vec<String>,
    access: String,
    limits: String,
}

impl Row {
    fn of(method: &MethodDescriptor) -> Self {
        let rpc = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let routes = router::router().routes().iter().filter(|route| route.rpc_path == rpc);
        let paths = routes
            .map(|route| {
                let old = if route.deprecated.is_some() { " (deprecated)" } else { "" };
                format!("{} {}{old}", route.http_method, route.template)
            })
            .collect();
        Self {
            rpc,
            paths,
            access: options::access(method).map_or_else(|| "denied".to_owned(), |access| in_words(&access)),
            limits: options::rate_limit(method).map_or_else(String::new, |limit| windows(&limit)),
        }
    }

    fn json(&self) -> Value {
        json!({"rpc": self.rpc, "rest": self.paths, "access": self.access, "limits": self.limits})
    }
}

fn in_words(access: &Access) -> String {
    let name = Level::try_from(access.level).unwrap_or_default().as_str_name();
    let mut words = name.trim_start_matches("LEVEL_").to_ascii_lowercase();
    if access.admins {
        words.push_str(" or admin");
    }
    if access.fresh {
        words.push_str(", fresh");
    }
    if access.mesh_only {
        words.push_str(", mesh only");
    }
    words
}

fn windows(limit: &RateLimit) -> String {
    let windows: Vec<String> = limit
        .windows
        .iter()
        .map(|window| format!("{}/{}", window.max, period(window.per.as_ref().map_or(0, |per| per.seconds))))
        .collect();
    let by = if limit.subject() == LimitSubject::Ip { "address" } else { "caller" };
    format!("{} by {by}", windows.join(" "))
}

fn period(seconds: i64) -> String {
    match seconds {
        60 => "min".to_owned(),
        3600 => "h".to_owned(),
        other => format!("{other}s"),
    }
}

fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let _ = writeln!(out, "{}", row.rpc);
        let limits = if row.limits.is_empty() { String::new() } else { format!("   limits: {}", row.limits) };
        let _ = writeln!(out, "    access: {}{limits}", row.access);
        for path in &row.paths {
            let _ = writeln!(out, "    {path}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_has_a_row_with_its_paths_access_and_limits() {
        let rows: Vec<Row> = methods().map(|method| Row::of(&method)).collect();
        let text = table(&rows);
        for line in [
            "/coreloop.auth.v1.AuthService/Login",
            "access: public   limits: 10/min 100/h by address",
            "POST /v1/auth/login",
            "access: internal, mesh only",
            "access: premium or admin, fresh   limits: 60/min by caller",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(rows.iter().all(|row| row.access != "denied"), "{text}");
    }
}
