use super::*;

const NOW: u64 = 1_800_000_000;

/// After an installation from a page: bitrix-tools/crest, `src/crest.php`, `installApp`.
const CREST_INSTALLED: &str = r#"{"access_token":"A-canary","expires_in":"3600",
    "application_token":"S-canary","refresh_token":"R-canary","domain":"acme.bitrix24.com",
    "client_endpoint":"https:\/\/acme.bitrix24.com\/rest\/"}"#;

/// After a renewal: `setAppSettings` of the same file merges the token response into what was there,
/// the application's secret among it, and `domain` becomes the OAuth server's.
const CREST_RENEWED: &str = r#"{"access_token":"A-canary","expires_in":3600,
    "application_token":"S-canary","refresh_token":"R-canary","domain":"oauth.bitrix.info",
    "client_endpoint":"https:\/\/acme.bitrix24.com\/rest\/","C_REST_CLIENT_ID":"local.5c8bb1",
    "C_REST_CLIENT_SECRET":"S-canary","expires":1800003600,"scope":"app",
    "server_endpoint":"https:\/\/oauth.bitrix.info\/rest\/","status":"L",
    "member_id":"A223C6B3710F85DF22E9377D6C4F7553","user_id":7}"#;

/// bitrix24/b24phpsdk, `src/Application/Local/Entity/LocalAppAuth.php`, `toArray`.
const PHP_LOCAL_APP: &str = r#"{"auth_token":{"access_token":"A-canary",
    "refresh_token":"R-canary","expires":1800003600},"domain_url":"https:\/\/acme.bitrix24.com",
    "application_token":"S-canary","oauth_server_url":"https:\/\/oauth.bitrix24.tech\/"}"#;

/// The same right after an installation: `initFromPlacementRequest` in
/// `src/Core/Credentials/AuthToken.php` puts `AUTH_EXPIRES` where a time belongs.
const PHP_JUST_INSTALLED: &str = r#"{"auth_token":{"access_token":"A-canary",
    "refresh_token":"R-canary","expires":3600},"domain_url":"https:\/\/acme.bitrix24.com",
    "application_token":null}"#;

/// The public properties of `src/Core/Credentials/AuthToken.php` through `json_encode`.
const PHP_TOKEN: &str = r#"{"accessToken":"A-canary","refreshToken":"R-canary",
    "expires":1800003600,"expiresIn":null}"#;

/// Those of `src/Core/Response/DTO/RenewedAuthToken.php`.
const PHP_RENEWED: &str = r#"{"authToken":{"accessToken":"A-canary","refreshToken":"R-canary",
    "expires":1800003600,"expiresIn":null},"memberId":"a223c6b3710f85df22e9377d6c4f7553",
    "clientEndpoint":"https:\/\/acme.bitrix24.com\/rest\/","serverEndpoint":
    "https:\/\/oauth.bitrix24.tech\/rest\/","applicationStatus":{},"domain":"acme.bitrix24.com"}"#;

/// bitrix24/b24jssdk, `packages/jssdk/src/types/auth.ts`, `B24OAuthParams`.
const JS_PARAMETERS: &str = r#"{"applicationToken":"S-canary","userId":7,
    "memberId":"a223c6b3710f85df22e9377d6c4f7553","accessToken":"A-canary",
    "refreshToken":"R-canary","expires":1800003600,"expiresIn":3600,"scope":"crm,user_brief",
    "domain":"acme.bitrix24.com","clientEndpoint":"https://acme.bitrix24.com/rest/",
    "serverEndpoint":"https://oauth.bitrix.info/rest/","status":"L"}"#;

/// The same file's `AuthData`: the names of a token response.
const JS_AUTH_DATA: &str = r#"{"access_token":"A-canary","refresh_token":"R-canary",
    "expires":1800003600,"expires_in":3600,"domain":"acme.bitrix24.com",
    "member_id":"a223c6b3710f85df22e9377d6c4f7553"}"#;

/// The fields that a portal posts to an application's page: bitrix24/b24phpsdk,
/// `initFromPlacementRequest`; bitrix-tools/crest, `installApp`.
const INSTALL: &str = r#"{"DOMAIN":"acme.bitrix24.com","PROTOCOL":"1","LANG":"en",
    "APP_SID":"S-canary","AUTH_ID":"A-canary","AUTH_EXPIRES":"3600","REFRESH_ID":"R-canary",
    "SERVER_ENDPOINT":"https:\/\/oauth.bitrix.info\/rest\/",
    "member_id":"a223c6b3710f85df22e9377d6c4f7553","status":"L","PLACEMENT":"DEFAULT"}"#;

/// bitrix24/b24jssdk, `MessageInitData` of `packages/jssdk/src/types/auth.ts`.
const INSTALL_FRAME: &str = r#"{"AUTH_ID":"A-canary","REFRESH_ID":"R-canary",
    "AUTH_EXPIRES":"3600","DOMAIN":"acme.bitrix24.com","PROTOCOL":"1","PATH":"\/rest","LANG":"en",
    "MEMBER_ID":"a223c6b3710f85df22e9377d6c4f7553","IS_ADMIN":true,"PLACEMENT":"DEFAULT"}"#;

/// An event with the `HandlerAuthParams` of bitrix24/b24jssdk, `packages/jssdk/src/types/handler.ts`:
/// every value is text.
const EVENT: &str = r#"{"event":"ONAPPINSTALL","data":{"VERSION":"1","ACTIVE":"1",
    "LANGUAGE_ID":"en"},"ts":"1800000000","auth":{"access_token":"A-canary",
    "expires":"1800003600","expires_in":"3600","scope":"crm","domain":"acme.bitrix24.com",
    "server_endpoint":"https:\/\/oauth.bitrix.info\/rest\/","status":"L",
    "client_endpoint":"https:\/\/acme.bitrix24.com\/rest\/",
    "member_id":"a223c6b3710f85df22e9377d6c4f7553","user_id":"7","refresh_token":"R-canary",
    "application_token":"S-canary"}}"#;

/// What a form tells: the expiry, the user, and whether it names the portal and its endpoint.
type Told = (Option<u64>, Option<u64>, bool, bool);

fn read(text: &str) -> Result<(Grant, Form), FormError> {
    Grant::read_stored(text.as_bytes(), NOW)
}

fn told(text: &str) -> (Form, Told) {
    let (grant, form) = read(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(grant.access.matches("A-canary") && grant.refresh.matches("R-canary"), "{text}");
    let is_ours = |member: &str| assert_eq!(member, "a223c6b3710f85df22e9377d6c4f7553", "{text}");
    let member = grant.member_id.as_deref().map(is_ours).is_some();
    let is_rest = |url: &str| assert_eq!(url, "https://acme.bitrix24.com/rest/", "{text}");
    let endpoint = grant.client_endpoint.as_deref().map(is_rest).is_some();
    (form, (grant.expires_at, grant.user_id, member, endpoint))
}

#[test]
fn every_form_is_told_by_its_shape_and_gives_all_that_is_in_it() {
    let at = Some(NOW + 3600);
    let stored_by_recipe = format!("{{\"a223c6b3710f85df22e9377d6c4f7553\":{JS_PARAMETERS}}}");
    let handed_over = format!("{{\"authData\":{JS_AUTH_DATA},\"b24OAuthParams\":{JS_PARAMETERS}}}");
    for (text, form, told_of) in [
        (CREST_INSTALLED, Form::Settings, (None, None, false, true)),
        (CREST_RENEWED, Form::Settings, (at, Some(7), true, true)),
        (PHP_LOCAL_APP, Form::PhpSdk, (at, None, false, false)),
        (PHP_JUST_INSTALLED, Form::PhpSdk, (None, None, false, false)),
        (PHP_TOKEN, Form::PhpSdk, (at, None, false, false)),
        (PHP_RENEWED, Form::PhpSdk, (at, None, true, true)),
        (JS_PARAMETERS, Form::JsSdk, (at, Some(7), true, true)),
        (&stored_by_recipe, Form::JsSdk, (at, Some(7), true, true)),
        (&handed_over, Form::JsSdk, (at, Some(7), true, true)),
        (JS_AUTH_DATA, Form::TokenResponse, (at, None, true, false)),
        (INSTALL, Form::Install, (None, None, true, false)),
        (INSTALL_FRAME, Form::Install, (None, None, true, false)),
        (EVENT, Form::Event, (at, Some(7), true, true)),
    ] {
        assert_eq!(told(text), (form, told_of), "{text}");
    }
}

#[test]
fn only_a_token_response_tells_since_when_its_lifetime_counts() {
    let (form, (expires_at, ..)) =
        told(r#"{"access_token":"A-canary","refresh_token":"R-canary","expires_in":"3600"}"#);
    assert_eq!((form, expires_at), (Form::TokenResponse, Some(NOW + 3600)));
}

#[test]
fn a_time_may_be_in_seconds_or_milliseconds_and_a_number_or_text() {
    for (expires, want) in [
        ("1800003600", Some(1_800_003_600)),
        ("1800003600999", Some(1_800_003_600)),
        ("\"1800003600\"", Some(1_800_003_600)),
        ("\"1800003600000\"", Some(1_800_003_600)),
        ("1000000000", Some(1_000_000_000)),
        ("99999999999", Some(99_999_999_999)),
        ("100000000000", Some(100_000_000)),
        ("999999999", None),
        ("3600", None),
        ("0", None),
        ("-1", None),
        ("null", None),
        ("\"soon\"", None),
    ] {
        let (_, (expires_at, ..)) = told(&JS_PARAMETERS.replace("1800003600", expires));
        assert_eq!(expires_at, want, "{expires}");
    }
}

#[test]
fn a_user_may_be_text_and_user_0_is_nobody() {
    for (user, want) in [("7", Some(7)), ("\"7\"", Some(7)), ("0", None), ("null", None)] {
        let text = JS_PARAMETERS.replace("\"userId\":7", &format!("\"userId\":{user}"));
        assert_eq!(told(&text).1.1, want, "{user}");
    }
}

#[test]
fn what_is_missing_is_named_as_the_form_names_it() {
    for (text, remove, field, form) in [
        (CREST_INSTALLED, "refresh_token", "refresh_token", Form::Settings),
        (CREST_INSTALLED, "access_token", "access_token", Form::Settings),
        (PHP_LOCAL_APP, "refresh_token", "refresh_token", Form::PhpSdk),
        (PHP_TOKEN, "refreshToken", "refreshToken", Form::PhpSdk),
        (PHP_RENEWED, "refreshToken", "refreshToken", Form::PhpSdk),
        (JS_PARAMETERS, "refreshToken", "refreshToken", Form::JsSdk),
        (JS_PARAMETERS, "accessToken", "accessToken", Form::JsSdk),
        (INSTALL, "REFRESH_ID", "REFRESH_ID", Form::Install),
        (EVENT, "refresh_token", "refresh_token", Form::Event),
    ] {
        let text = text.replace(&format!("\"{remove}\""), "\"another\"");
        let error = read(&text).unwrap_err();
        assert_eq!(error, FormError::Missing { form: Some(form), field }, "{text}");
        let said = error.to_string();
        assert!(
            said.contains(&form.to_string()) && said.contains(&format!("no {field}")),
            "{said}"
        );
    }
    let error = read(&INSTALL.replace("\"R-canary\"", "7")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this looks like the fields of an install request: its \
         REFRESH_ID is not a token"
    );
}

#[test]
fn what_is_no_pair_is_refused_with_the_reason_and_without_what_was_in_it() {
    let several = format!("{{\"a\":{JS_PARAMETERS},\"b\":{JS_PARAMETERS}}}");
    let refused = CREST_RENEWED.replacen('{', r#"{"error":"invalid_grant","#, 1);
    for (text, error) in [
        ("<html>R-canary</html>", FormError::NotJson),
        ("[\"R-canary\"]", FormError::NotJson),
        ("\"R-canary\"", FormError::NotJson),
        ("https://acme.bitrix24.com/rest/", FormError::NotJson),
        ("https://acme.bitrix24.com/rest/7/S-canary/", FormError::Webhook),
        ("\"https://acme.bitrix24.com/rest/7/S-canary\"\n", FormError::Webhook),
        ("https://acme.bitrix24.com/rest/api/7/S-canary/", FormError::Webhook),
        // bitrix-tools/crest, `getAppSettings`; bitrix24/b24jssdk, `B24HookParams`.
        (
            r#"{"client_endpoint":"https://acme.bitrix24.com/rest/7/S-canary/","is_web_hook":"Y"}"#,
            FormError::Webhook,
        ),
        (
            r#"{"b24Url":"https://acme.bitrix24.com","userId":7,"secret":"S-canary"}"#,
            FormError::Webhook,
        ),
        (r#"{"url":"https://acme.bitrix24.com/rest/7/S-canary/"}"#, FormError::Webhook),
        (r#"{"error":"invalid_grant"}"#, FormError::Refusal),
        (&refused, FormError::Refusal),
        (r#"{"access_token":"A-canary"}"#, FormError::AccessAlone),
        ("{}", FormError::Missing { form: None, field: "access_token" }),
        (
            r#"{"access_token":["A-canary"],"refresh_token":"R-canary"}"#,
            FormError::Malformed { form: None, field: "access_token" },
        ),
        (&several, FormError::Several(2)),
    ] {
        let found = read(text).unwrap_err();
        assert_eq!(found, error, "{text}");
        assert!(!found.to_string().contains("canary"), "{found}");
    }
}
