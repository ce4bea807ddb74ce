//! The methods that a portal would run, read by other means than the gateway's.

use serde_json::Value;

pub(super) fn runs(query: &str, content_type: &str, body: &str) -> Vec<String> {
    let mut commands = form(query);
    if content_type == super::JSON {
        commands.extend(json(body));
    } else if content_type == super::PARTS {
        commands.extend(multipart(body));
    } else {
        commands.extend(form(body));
    }
    commands.iter().flat_map(|command| paths(command)).collect()
}

fn form(text: &str) -> Vec<String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| names_cmd(&decoded(name))).map(|(_, value)| decoded(value)).collect()
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let byte = byte.filter(u8::is_ascii);
        rest = after.get(2..).filter(|_| byte.is_some()).unwrap_or(after);
        out.push(byte.map_or('%', char::from));
    }
    out + rest
}

fn names_cmd(name: &str) -> bool {
    let name = name.trim_start_matches(' ').split('\0').next().unwrap();
    name.split('[').next().unwrap().to_lowercase() == "cmd"
}

fn json(text: &str) -> Vec<String> {
    let Ok(Value::Object(members)) = serde_json::from_str(text) else { return Vec::new() };
    let cmd = members.into_iter().filter(|(name, _)| name.to_lowercase() == "cmd");
    cmd.flat_map(|(_, value)| match value {
        Value::Array(items) => items,
        Value::Object(items) => items.into_iter().map(|(_, item)| item).collect(),
        _ => Vec::new(),
    })
    .filter_map(|item| item.as_str().map(str::to_owned))
    .collect()
}

fn multipart(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for part in format!("\n{text}").split("\n--b").skip(1) {
        let part = part.replace("\r\n", "\n");
        let Some((head, content)) = part.split_once("\n\n") else { continue };
        let name = head.split("name=\"").nth(1).and_then(|rest| rest.split('"').next());
        if name.is_some_and(names_cmd) {
            commands.push(content.strip_suffix('\r').unwrap_or(content).to_owned());
        }
    }
    commands
}

/// Whatever `parse_url` could take for the path.
fn paths(command: &str) -> Vec<String> {
    let front = command.split(['?', '#']).next().unwrap();
    let behind_scheme = front.split_once(':').map(|(_, path)| path.to_owned());
    let behind_host = front.rsplit('/').next().map(str::to_owned);
    [Some(front.to_owned()), behind_scheme, behind_host].into_iter().flatten().collect()
}
