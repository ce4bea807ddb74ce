//! The pages that a portal shows in a browser, and the library that apps load from Bitrix24.

use super::answer::Answer;

/// Fills a page's blanks, `{{name}}`; values are escaped, so that a page shows what it was given and
/// never runs it.
fn fill(page: &str, blanks: &[(&str, String)]) -> String {
    let mut parts = page.split("{{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or(("", part));
        let value =
            blanks.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        text.push_str(&escape(value.unwrap_or_default()));
        text.push_str(rest);
    }
    text
}

/// A page in the manner of the portal, with these lines; markup is the caller's.
pub(super) fn framed(title: &str, body: &str) -> Answer {
    let title = escape(title);
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         </head>\n<body>\n<h1>{title}</h1>\n{body}</body></html>\n"
    );
    html(page)
}

/// The page around an app, with the fields of its form.
pub(super) fn app(blanks: &[(&str, String)], fields: &str) -> Answer {
    let (before, after) = APP.split_once("FIELDS").unwrap_or((APP, ""));
    html(format!("{}{fields}{}", fill(before, blanks), fill(after, blanks)))
}

fn html(page: String) -> Answer {
    Answer::with_body(200, "text/html; charset=UTF-8", page)
}

/// A field that nobody sees.
pub(super) fn hidden(name: &str, value: &str) -> String {
    let (name, value) = (escape(name), escape(value));
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">\n")
}

/// The stand-in for `https://api.bitrix24.com/api/v1/`.
pub(super) fn library() -> Answer {
    Answer::with_body(200, "application/javascript; charset=utf-8", LIBRARY)
}

/// Text that markup cannot hide in.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const APP: &str = include_str!("pages/app.html");
const LIBRARY: &str = include_str!("pages/bx24.js");
