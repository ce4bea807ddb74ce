//! Tokens, on a clock that stands still.

use super::*;

fn owner() -> Owner {
    Owner { member_id: "m".to_owned(), user_id: 1269 }
}

#[test]
fn a_token_is_seventy_hex_digits_with_expiry_and_user_inside() {
    let token = wire_token(0x0102_0304, 1269);
    assert_eq!(token.len(), 70);
    assert!(token.starts_with("04030201"));
    assert_eq!(token.get(24..32), Some("000004f5"));
}

#[tokio::test(start_paused = true)]
async fn strict_rotation_takes_a_refresh_token_once_and_kills_the_old_access_token() {
    let (mut tokens, switches) = (Tokens::new(), Switches::default());
    let first = tokens.issue(owner(), &switches);
    assert!(tokens.examine(&first.refresh_token, &switches).is_ok());
    let second = tokens.rotate(&first.refresh_token, &switches).unwrap();
    assert!(matches!(tokens.judge(&first.access_token), Verdict::Replaced));
    assert!(matches!(tokens.judge(&second.access_token), Verdict::Good(_)));
    assert_eq!(tokens.examine(&first.refresh_token, &switches).unwrap_err(), "invalid_grant");
    tokio::time::advance(Duration::from_hours(1)).await;
    assert!(matches!(tokens.judge(&second.access_token), Verdict::Expired));
}

#[tokio::test(start_paused = true)]
async fn lenient_rotation_and_the_grace_take_a_refresh_token_again() {
    let lenient = Switches { rotation: Rotation::Lenient, ..Switches::default() };
    let grace = Switches { reuse_grace_ms: 1_000, ..Switches::default() };
    let mut tokens = Tokens::new();
    let first = tokens.issue(owner(), &lenient);
    tokens.rotate(&first.refresh_token, &lenient).unwrap();
    assert!(tokens.examine(&first.refresh_token, &lenient).is_ok());
    assert!(tokens.examine(&first.refresh_token, &grace).is_ok());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(tokens.examine(&first.refresh_token, &grace).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_history_tells_when_an_access_token_was_first_taken() {
    let (mut tokens, switches) = (Tokens::new(), Switches::default());
    let first = tokens.issue(owner(), &switches);
    let second = tokens.rotate(&first.refresh_token, &switches).unwrap();
    for _ in 0..2 {
        tokio::time::advance(Duration::from_millis(5)).await;
        tokens.note_use(&second.access_token);
    }
    let used: Vec<_> = tokens.history.iter().map(|event| event.used_ms).collect();
    assert_eq!(used, [None, Some(5)]);
}

#[tokio::test(start_paused = true)]
async fn a_code_works_once_and_for_thirty_seconds() {
    let (mut tokens, switches) = (Tokens::new(), Switches::default());
    let code = tokens.issue_code(owner());
    assert!(tokens.redeem(&code, &switches).is_ok());
    assert_eq!(tokens.redeem(&code, &switches).unwrap_err(), "invalid_grant");
    let late = tokens.issue_code(owner());
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(tokens.redeem(&late, &switches).unwrap_err(), "expired_token");
}
