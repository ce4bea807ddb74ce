//! `b24gate client list`: who may call, and what; neither a key nor a digest.

use super::Form;
use crate::cli::output::{Failure, failed};
use crate::cli::portal::distance;
use crate::cli::table::table;
use crate::credential::{unix_now, utc};
use crate::views::clients::ClientView;

/// The clients, as people or as programs read them.
pub(super) fn text(views: &[ClientView], lost: bool, form: Form) -> Result<String, Failure> {
    match form {
        Form::Json => {
            let told = serde_json::json!({"clients": views, "lost": lost});
            serde_json::to_string_pretty(&told).map_err(|error| failed(error.to_string()))
        }
        Form::Text => Ok(lines(views, lost)),
    }
}

fn lines(views: &[ClientView], lost: bool) -> String {
    let mut parts = Vec::new();
    if lost {
        parts.push(LOST.to_owned());
    }
    if views.is_empty() {
        parts.push(NOBODY.to_owned());
    } else {
        let now = unix_now();
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(views.iter().map(|view| row(view, now)));
        parts.push(table(&rows));
    }
    let advice = views.iter().filter_map(|view| Some(format!("{}: {}", view.name, view.advice()?)));
    let advice: Vec<_> = advice.collect();
    if !advice.is_empty() {
        parts.push(advice.join("\n"));
    }
    parts.join("\n\n")
}

fn row(view: &ClientView, now: u64) -> [String; 10] {
    let any = |names: &[String], words: &str| {
        if names.is_empty() { words.to_owned() } else { names.join(" ") }
    };
    let state = match view.state.as_str() {
        "no key" => "no key yet",
        word => word,
    };
    [
        view.name.clone(),
        state.to_owned(),
        view.source.clone(),
        view.portals.as_ref().map_or_else(|| "all".to_owned(), |names| any(names, "none")),
        any(&view.methods, "all"),
        if view.read_only { "yes" } else { "no" }.to_owned(),
        view.expires_at.map_or_else(|| "never".to_owned(), |at| ends(at, now)),
        keys(view, now),
        match view.last_used_at {
            Some(at) => distance(at, now),
            None if view.calls.is_some() => "not since the start".to_owned(),
            None => "-".to_owned(),
        },
        view.calls.map_or_else(|| "-".to_owned(), |calls| calls.to_string()),
    ]
}

/// When each key was made; an end that it has of its own stands beside it.
fn keys(view: &ClientView, now: u64) -> String {
    let key = |key: &crate::views::clients::KeyView| {
        let made = distance(key.made_at, now);
        match key.expires_at {
            None => made,
            Some(at) if key.expired => format!("{made} (expired {})", distance(at, now)),
            Some(at) => format!("{made} (until {})", utc(at)),
        }
    };
    let keys: Vec<_> = view.keys.iter().map(key).collect();
    if keys.is_empty() { "-".to_owned() } else { keys.join(", ") }
}

fn ends(at: u64, now: u64) -> String {
    if at <= now { format!("expired {}", distance(at, now)) } else { utc(at) }
}

const HEAD: [&str; 10] = [
    "NAME",
    "STATE",
    "RULES FROM",
    "PORTALS",
    "METHODS",
    "READS ONLY",
    "EXPIRES",
    "KEY MADE",
    "LAST USED",
    "CALLS",
];
const NOBODY: &str = "there is no client; make one:\n  b24gate client add NAME";
const LOST: &str = "The database that knew the keys of clients was lost or replaced by an older one. \
                    Every key that is\nnot listed is refused; make the keys anew: b24gate client \
                    add NAME";
