//! The pages that people see who log in or install.

use http::header::{CONTENT_SECURITY_POLICY, X_FRAME_OPTIONS};
use http::{HeaderValue, StatusCode};
use minijinja::{Environment, context};

use crate::connect::Installed;
use crate::door::{self, Answer};

/// Who may show a page in a frame of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frames {
    /// No other page.
    Nobody,
    /// Any: for what says nothing and does nothing, in the place where a portal shows an application.
    Anybody,
}

/// A page with a headline and a sentence.
pub(super) fn plain(status: StatusCode, title: &str, text: &str, frames: Frames) -> Answer {
    let Some(nonce) = nonce() else { return broken() };
    let ancestors = match frames {
        Frames::Nobody => "; frame-ancestors 'none'",
        Frames::Anybody => "",
    };
    let policy = format!("{BASE}; style-src 'nonce-{nonce}'{ancestors}");
    let page = context! { nonce, title, text, finish => false };
    answer(status, page, &policy, frames)
}

/// The page that ends an installation.
pub(super) fn installed(installed: &Installed) -> Answer {
    let Some(nonce) = nonce() else { return broken() };
    let Installed { portal, frame_ancestor, finish, text } = installed;
    let scripts = match finish {
        true => format!("; script-src 'nonce-{nonce}' {LIBRARY_HOST}"),
        false => String::new(),
    };
    let policy =
        format!("{BASE}; style-src 'nonce-{nonce}'{scripts}; frame-ancestors {frame_ancestor}");
    if !frame_ancestor.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:/[]".contains(c)) {
        return broken(); // It would write the rest of the policy.
    }
    let title = format!("Portal {portal}");
    let page = context! { nonce, title, text, finish };
    answer(StatusCode::OK, page, &policy, Frames::Anybody)
}

fn answer(status: StatusCode, page: minijinja::Value, policy: &str, frames: Frames) -> Answer {
    let mut environment = Environment::new();
    // What a name that ends in .html is rendered with is escaped.
    let rendered = environment
        .add_template("page.html", include_str!("page.html"))
        .and_then(|()| environment.get_template("page.html")?.render(page));
    let (Ok(body), Ok(policy)) = (rendered, HeaderValue::from_str(policy)) else {
        return broken();
    };
    let mut answer = door::page(status, "text/html; charset=utf-8", body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if frames == Frames::Anybody {
        // It knows no origins; where both are given, the policy decides in new browsers only.
        headers.remove(X_FRAME_OPTIONS);
    }
    answer
}

fn broken() -> Answer {
    door::text(StatusCode::INTERNAL_SERVER_ERROR, "the page cannot be shown\n")
}

/// 128 random bits in hex, new for every page: what the page itself holds may run, nothing else.
fn nonce() -> Option<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("{:032x}", u128::from_le_bytes(bytes)))
}

/// What holds for every page.
const BASE: &str = "default-src 'none'; base-uri 'none'; form-action 'none'";

/// Where Bitrix24's library for pages within a portal comes from.
const LIBRARY_HOST: &str = "https://api.bitrix24.com";

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn text(answer: Answer) -> String {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn policy(answer: &Answer) -> String {
        answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned()
    }

    fn installation(finish: bool) -> Installed {
        Installed {
            portal: "acme".to_owned(),
            frame_ancestor: "https://acme.bitrix24.com".to_owned(),
            finish,
            text: "<b>connected</b>".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_a_page_is_told_is_escaped_and_framed_by_nobody() {
        let page = plain(StatusCode::OK, "a<b", "\"&'</p><script>", Frames::Nobody);
        assert!(policy(&page).contains("default-src 'none'"));
        assert!(policy(&page).contains("frame-ancestors 'none'"));
        assert!(!policy(&page).contains("script-src"));
        assert_eq!(page.headers()[X_FRAME_OPTIONS], "DENY");
        assert_eq!(page.headers()["referrer-policy"], "no-referrer");
        assert_eq!(page.headers()["cache-control"], "no-store");
        let text = text(page).await;
        assert!(text.contains("a&lt;b") && !text.contains("<script"), "{text}");
    }

    #[tokio::test]
    async fn the_page_that_ends_an_installation_runs_bitrix24s_library_in_the_portal_only() {
        let page = installed(&installation(true));
        assert!(!page.headers().contains_key(X_FRAME_OPTIONS));
        let policy = policy(&page);
        assert!(policy.contains("frame-ancestors https://acme.bitrix24.com"), "{policy}");
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert!(policy.contains(&format!("'nonce-{nonce}' https://api.bitrix24.com;")), "{policy}");
        let page = text(page).await;
        assert!(page.contains(r#"src="https://api.bitrix24.com/api/v1/""#), "{page}");
        let call = "BX24.init(function () { BX24.installFinish(); });";
        assert!(page.contains(&format!("<script nonce=\"{nonce}\">{call}</script>")), "{page}");
        assert!(page.contains("&lt;b&gt;connected"), "{page}");
        let other = text(installed(&installation(true))).await;
        assert!(!other.contains(nonce), "a nonce is new for every page");
    }

    #[test]
    fn an_origin_cannot_write_the_rest_of_the_policy() {
        let frame_ancestor = "https://evil.example; script-src *".to_owned();
        let page = installed(&Installed { frame_ancestor, ..installation(true) });
        assert_eq!(page.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn a_page_that_finishes_nothing_runs_nothing() {
        let page = installed(&installation(false));
        assert!(!policy(&page).contains("script-src"));
        assert!(policy(&page).contains("frame-ancestors https://acme.bitrix24.com"));
        assert!(!text(page).await.contains("<script"));
    }
}
