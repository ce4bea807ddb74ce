//! Who works at the portal.

use super::value::Value;

/// A user's whole name.
pub(super) fn name(id: u32) -> String {
    let (first, last) = names(id);
    format!("{first} {last}")
}

/// A user as `user.get` and `user.current` tell it.
pub(super) fn user(id: u32) -> Value {
    let (first, last) = names(id);
    Value::map([
        ("ID", id.to_string().into()),
        ("ACTIVE", true.into()),
        ("NAME", first.into()),
        ("LAST_NAME", last.into()),
        ("EMAIL", format!("user{id}@example.com").into()),
        ("UF_DEPARTMENT", Value::list([Value::Int(1)])),
    ])
}

/// A user as `profile` tells it. The first one is the portal's administrator.
pub(super) fn profile(id: u32) -> Value {
    let (first, last) = names(id);
    Value::map([
        ("ID", id.to_string().into()),
        ("ADMIN", (id == 1).into()),
        ("NAME", first.into()),
        ("LAST_NAME", last.into()),
        ("PERSONAL_GENDER", "F".into()),
        ("TIME_ZONE", "Europe/London".into()),
    ])
}

/// First and last name; users beyond the known ones begin again, with a number.
fn names(id: u32) -> (String, String) {
    let count = u32::try_from(PEOPLE.len()).unwrap_or(1);
    let (round, place) = (id.saturating_sub(1) / count, id.saturating_sub(1) % count);
    let known = PEOPLE.get(usize::try_from(place).unwrap_or(0));
    let (first, last) = known.copied().unwrap_or(("Ada", "Lovelace"));
    let number = if round == 0 { String::new() } else { format!(" {}", round + 1) };
    (first.to_owned(), format!("{last}{number}"))
}

const PEOPLE: [(&str, &str); 8] = [
    ("Ada", "Lovelace"),
    ("Grace", "Hopper"),
    ("Katherine", "Johnson"),
    ("Radia", "Perlman"),
    ("Barbara", "Liskov"),
    ("Hedy", "Lamarr"),
    ("Frances", "Allen"),
    ("Margaret", "Hamilton"),
];
