//! Whose rights an access token carries, as the portal tells it.

use serde_json::{Map, Value};

use crate::credential::RawAnswer;
use crate::credential::grant::number;
use crate::credential::oauth::answer::RefreshFailure;
use crate::store::Person;

/// The methods that tell it, the one that knows more first.
pub(super) const METHODS: [&str; 2] = ["/rest/user.current", "/rest/profile"];

/// Longest name kept, characters.
const NAME_MAX: usize = 200;

impl RawAnswer {
    /// The user that `user.current` or `profile` describes.
    pub(super) fn person(&self) -> Result<Person, RefreshFailure> {
        let bad = || RefreshFailure::ambiguous("bad_answer");
        let mut answer = self.success()?;
        let Some(Value::Object(user)) = answer.remove("result") else {
            return Err(bad());
        };
        let user_id = user.get("ID").and_then(number).ok_or_else(bad)?;
        Ok(Person { user_id, name: name(&user, user_id) })
    }
}

impl RefreshFailure {
    /// Whether the method is not for this application or this user; another one may be.
    pub(super) fn refuses_the_method(&self) -> bool {
        let codes = ["insufficient_scope", "ACCESS_DENIED", "ERROR_METHOD_NOT_FOUND"];
        codes.iter().any(|code| self.code.eq_ignore_ascii_case(code))
    }
}

/// First and last name, else the login, unless that is an e-mail address, else the number.
fn name(user: &Map<String, Value>, user_id: u64) -> String {
    let text = |key| user.get(key).and_then(Value::as_str).map(shown).unwrap_or_default();
    let full = shown(&format!("{} {}", text("NAME"), text("LAST_NAME")));
    if !full.is_empty() {
        return full;
    }
    let login = text("LOGIN");
    if login.is_empty() || login.contains('@') { format!("user {user_id}") } else { login }
}

/// People choose their names themselves, and these are shown in terminals and on pages.
fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    // They turn the direction of what comes after them.
    let turns = |c: &char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String = text.chars().map(plain).filter(|c| !turns(c)).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(NAME_MAX).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_called_by_name_else_by_login_else_by_number() {
        for (fields, expected) in [
            (r#""NAME":"Ada","LAST_NAME":"Lovelace","LOGIN":"al""#, "Ada Lovelace"),
            (r#""NAME":" Ada ","LAST_NAME":"""#, "Ada"),
            (r#""NAME":null,"LAST_NAME":"Lovelace""#, "Lovelace"),
            (r#""NAME":"","LOGIN":"al""#, "al"),
            (r#""LOGIN":"al@example.com""#, "user 7"),
            (r#""NAME":["Ada"],"LOGIN":7"#, "user 7"),
            (r#""NAME":"A\u0000d\u001b[31ma\u007f\u0085","LAST_NAME":"L\r\n""#, "A d [31ma L"),
            (r#""NAME":"\u202eada\u2066 \u200f","LAST_NAME":"\u00a0""#, "ada"),
        ] {
            let user = serde_json::from_str(&format!("{{{fields}}}")).unwrap();
            assert_eq!(name(&user, 7), expected, "{fields}");
        }
        let long: Map<String, Value> =
            [("NAME".to_owned(), "\u{436}".repeat(300).into())].into_iter().collect();
        assert_eq!(name(&long, 7), "\u{436}".repeat(200));
    }
}
