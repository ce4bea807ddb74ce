//! Which header fields mean something to a gateway, told apart once per field.

/// What a field of a request is to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestField {
    /// Goes on to the portal as it is.
    Pass,
    /// Never goes on: a credential, or something between two neighbours only.
    Drop,
    /// Says that somebody forwarded this request; never goes on.
    Forwarded,
    Host,
    Connection,
    Expect,
    AcceptEncoding,
    RequestId,
    IdempotencyKey,
    ContentType,
    /// Goes on, and means that nobody here can read the body.
    ContentEncoding,
    /// Never goes on; it may hold a client's key.
    Authorization,
    Origin,
    Referer,
    FetchSite,
    FetchMode,
    FetchDest,
    /// `Access-Control-Request-Method`
    PageMethod,
    /// `Access-Control-Request-Headers`
    PageHeaders,
    /// `X-B24-Portal`
    Portal,
}

/// Classifies a request field by its name.
///
/// PHP folds `-` and `_` in field names, so a name with an underscore could be a second spelling of
/// one that is refused here; like nginx, the gateway drops all of them.
pub(crate) fn request_field(name: &str) -> RequestField {
    use RequestField as Is;
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 if is("te") => Is::Drop,
        3 if is("via") => Is::Forwarded,
        4 if is("host") => Is::Host,
        6 if is("cookie") => Is::Drop,
        6 if is("expect") => Is::Expect,
        6 if is("origin") => Is::Origin,
        7 if is("trailer") || is("upgrade") => Is::Drop,
        7 if is("referer") => Is::Referer,
        9 if is("forwarded") || is("x-real-ip") => Is::Forwarded,
        10 if is("connection") => Is::Connection,
        10 if is("keep-alive") => Is::Drop,
        12 if is("content-type") => Is::ContentType,
        12 if is("x-request-id") => Is::RequestId,
        13 if is("authorization") => Is::Authorization,
        14 if is("content-length") || is("http2-settings") => Is::Drop,
        14 if is("true-client-ip") => Is::Forwarded,
        14 if is("sec-fetch-site") => Is::FetchSite,
        14 if is("sec-fetch-mode") => Is::FetchMode,
        14 if is("sec-fetch-dest") || is("service-worker") => Is::FetchDest,
        15 if is("accept-encoding") => Is::AcceptEncoding,
        15 if is("idempotency-key") => Is::IdempotencyKey,
        16 if is("content-encoding") => Is::ContentEncoding,
        17 if is("transfer-encoding") => Is::Drop,
        19 if is("x-bitrix-csrf-token") => Is::Drop,
        29 if is("access-control-request-method") => Is::PageMethod,
        30 if is("access-control-request-headers") => Is::PageHeaders,
        _ => family(name),
    }
}

/// What only the start of a name tells, or a name that few proxies add.
fn family(name: &str) -> RequestField {
    use RequestField as Is;
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    let starts = |prefix: &str| starts_with(name, prefix);
    match name.as_bytes().first().map(u8::to_ascii_lowercase) {
        Some(b'a') if starts("access-control-") => Is::Drop,
        Some(b'c') if starts("cf-") || is("cdn-loop") || is("client-ip") => Is::Forwarded,
        Some(b'f') if FORWARDERS.iter().any(|known| is(known)) => Is::Forwarded,
        Some(b'p') if starts("proxy-") => Is::Drop,
        Some(b't') if starts("tailscale-") => Is::Forwarded,
        Some(b'x') if is("x-b24-portal") => Is::Portal,
        Some(b'x') if starts("x-b24-") => Is::Drop,
        Some(b'x') if starts("x-forwarded") || starts("x-original-") => Is::Forwarded,
        Some(b'x') if FORWARDERS.iter().any(|known| is(known)) => Is::Forwarded,
        _ if memchr::memchr(b'_', name.as_bytes()).is_some() => underscored(name),
        _ => Is::Pass,
    }
}

/// What reverse proxies, CDNs and tunnels add besides the fields of the families above.
const FORWARDERS: [&str; 12] = [
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded-for",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-coming-from",
    "x-envoy-external-address",
    "x-proxyuser-ip",
    "x-rewrite-url",
];

/// The forwarding headers count in their PHP spelling too; the rest is dropped.
fn underscored(name: &str) -> RequestField {
    match request_field(&name.replace('_', "-")) {
        RequestField::Forwarded => RequestField::Forwarded,
        _ => RequestField::Drop,
    }
}

/// What a field of an answer is to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerField {
    /// Goes on to the client as it is.
    Pass,
    /// Never goes on.
    Drop,
    Connection,
    ContentLength,
    TransferEncoding,
    ContentType,
    ContentEncoding,
    ContentDisposition,
    KeepAlive,
    Location,
    RetryAfter,
}

/// Classifies an answer field by its name.
///
/// Dropped: what holds between two neighbours only (RFC 9110, section 7.6.1), what would let a web
/// page read or run the portal's answers on the gateway's origin, and what the gateway sets itself.
pub(crate) fn answer_field(name: &str) -> AnswerField {
    use AnswerField as Is;
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 if is("te") => Is::Drop,
        3 if is("nel") => Is::Drop,
        4 if is("link") => Is::Drop,
        6 if is("pragma") => Is::Drop,
        7 if is("trailer") || is("upgrade") || is("refresh") || is("alt-svc") => Is::Drop,
        8 if is("location") => Is::Location,
        9 if is("report-to") => Is::Drop,
        10 if is("connection") => Is::Connection,
        10 if is("keep-alive") => Is::KeepAlive,
        9 if is("sourcemap") || is("accept-ch") || is("set-login") => Is::Drop,
        10 if is("set-cookie") => Is::Drop,
        11 if is("retry-after") => Is::RetryAfter,
        11 if is("set-cookie2") || is("x-sourcemap") || is("critical-ch") => Is::Drop,
        12 if is("content-type") => Is::ContentType,
        12 if is("proxy-status") => Is::Drop,
        13 if is("cache-control") || is("server-timing") => Is::Drop,
        14 if is("content-length") => Is::ContentLength,
        15 if is("clear-site-data") || is("x-frame-options") => Is::Drop,
        15 if is("document-policy") => Is::Drop,
        16 if is("content-encoding") => Is::ContentEncoding,
        16 if is("content-location") || is("proxy-connection") => Is::Drop,
        16 if is("www-authenticate") => Is::Pass,
        17 if is("transfer-encoding") => Is::TransferEncoding,
        17 if is("speculation-rules") || is("use-as-dictionary") => Is::Drop,
        18 if is("permissions-policy") => Is::Drop,
        20 if is("origin-agent-cluster") => Is::Drop,
        23 if is("activate-storage-access") => Is::Drop,
        19 if is("content-disposition") => Is::ContentDisposition,
        19 if is("timing-allow-origin") || is("reporting-endpoints") => Is::Drop,
        18 if is("proxy-authenticate") => Is::Drop,
        22 if is("service-worker-allowed") || is("x-content-type-options") => Is::Drop,
        23 if is("content-security-policy") => Is::Drop,
        25 if is("strict-transport-security") => Is::Drop,
        28 if is("cross-origin-resource-policy") => Is::Drop,
        _ if is_dropped_family(name) => Is::Drop,
        _ => Is::Pass,
    }
}

fn is_dropped_family(name: &str) -> bool {
    let families: &[&str] = match name.as_bytes().first().map(u8::to_ascii_lowercase) {
        Some(b'a') => &["access-control-"],
        Some(b'c') => &["cross-origin-", "content-security-policy"],
        Some(b'p') => &["proxy-"],
        Some(b'x') => &["x-b24-"],
        _ => &[],
    };
    families.iter().any(|family| starts_with(name, family))
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.as_bytes()
        .get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_neighbour_fields_never_go_on() {
        assert_eq!(request_field("AUTHORIZATION"), RequestField::Authorization);
        for name in [
            "Proxy-Authorization",
            "Cookie",
            "X-Bitrix-Csrf-Token",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "HTTP2-Settings",
            "Content-Length",
            "X-B24-Anything",
            "X_Bitrix_Csrf_Token",
            "Content_Length",
            "Access-Control-Request-Private-Network",
        ] {
            assert_eq!(request_field(name), RequestField::Drop, "{name}");
        }
    }

    #[test]
    fn forwarding_is_seen_in_every_spelling() {
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-host",
            "X_Forwarded_For",
            "Via",
            "X-Real-IP",
            "CF-Connecting-IP",
            "True-Client-IP",
            "X-Original-URL",
            "X_Real_IP",
            "CF-Ray",
            "CF_IPCountry",
            "CDN-Loop",
            "X-Forwarded",
            "Forwarded-For",
            "Forwarded_For",
            "X-Original-Host",
            "X-Rewrite-URL",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "x-envoy-external-address",
            "Fly-Client-IP",
            "Tailscale-User-Login",
        ] {
            assert_eq!(request_field(name), RequestField::Forwarded, "{name}");
        }
    }

    #[test]
    fn the_fields_that_sdks_rely_on_go_on() {
        for name in [
            "User-Agent",
            "Accept",
            "X-BITRIX24-PYTHON-SDK-VERSION",
            "X-Bitrix-Rest-Response-Language",
            "X-Forward",
            "From",
            "Range",
            "Content-Language",
        ] {
            assert_eq!(request_field(name), RequestField::Pass, "{name}");
        }
    }

    #[test]
    fn answers_lose_what_would_open_the_portal_to_web_pages() {
        for name in [
            "Access-Control-Allow-Origin",
            "access-control-allow-headers",
            "Set-Cookie",
            "Timing-Allow-Origin",
            "Cross-Origin-Resource-Policy",
            "Clear-Site-Data",
            "Refresh",
            "Link",
            "Alt-Svc",
            "Report-To",
            "NEL",
            "Service-Worker-Allowed",
            "Strict-Transport-Security",
            "Content-Security-Policy-Report-Only",
            "Set-Cookie2",
            "SourceMap",
            "Speculation-Rules",
            "Origin-Agent-Cluster",
            "Accept-CH",
        ] {
            assert_eq!(answer_field(name), AnswerField::Drop, "{name}");
        }
        for name in ["X-Bitrix-Rest-Time", "Idempotent-Replayed", "Content-Range", "Date"] {
            assert_eq!(answer_field(name), AnswerField::Pass, "{name}");
        }
    }
}
