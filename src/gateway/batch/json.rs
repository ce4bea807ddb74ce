//! The commands of a batch in JSON. Of two members with the same name PHP takes the last; here both
//! count, so that nothing depends on which.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as JsonError, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::gateway::batch::{COMMANDS_MAX, Commands, Fault, is_cmd};
use crate::gateway::route::Api;

/// Reads a body; false when it is not the JSON of a batch.
pub(super) fn read(body: &[u8], api: Api, commands: &mut Commands<'_>) -> Result<bool, Fault> {
    // What is passed over is not looked at by serde, and PHP reads no text with a broken letter.
    let Ok(body) = std::str::from_utf8(body) else { return Ok(false) };
    match api {
        Api::V1 => {
            let Ok(batch) = serde_json::from_str::<Batch>(body) else { return Ok(false) };
            batch.0.iter().try_for_each(|command| commands.command(command.as_bytes()))?;
        }
        Api::V3 => {
            let Ok(items) = serde_json::from_str::<Vec<Item>>(body) else { return Ok(false) };
            items.iter().try_for_each(|item| commands.method(item.method.as_bytes()))?;
        }
    }
    Ok(true)
}

/// An element of a batch of version 3. A second `method`, or a member that nobody here knows, makes
/// it unreadable.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    method: String,
    #[serde(rename = "query")]
    _query: Option<IgnoredAny>,
    #[serde(rename = "as")]
    _alias: Option<IgnoredAny>,
    #[serde(rename = "parallel")]
    _parallel: Option<IgnoredAny>,
}

/// The commands of versions 1 and 2, from every `cmd` of the outermost object.
struct Batch(Vec<String>);

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Batch, A::Error> {
        let mut found = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if is_cmd(name.as_bytes()) {
                found.append(&mut map.next_value::<Cmd>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Batch(found))
    }
}

/// What stands in `cmd`: texts in a list or in an object, or one text. Anything else is no batch.
struct Cmd(Vec<String>);

impl<'de> Deserialize<'de> for Cmd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Texts)
    }
}

struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Cmd;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("commands")
    }

    fn visit_str<E: JsonError>(self, text: &str) -> Result<Cmd, E> {
        Ok(Cmd(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Cmd, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            keep(&mut texts, text);
        }
        Ok(Cmd(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cmd, A::Error> {
        let mut texts = Vec::new();
        while let Some((_, text)) = map.next_entry::<String, String>()? {
            keep(&mut texts, text);
        }
        Ok(Cmd(texts))
    }
}

/// One more than may be there is enough to see that there are too many.
fn keep(texts: &mut Vec<String>, text: String) {
    if texts.len() <= COMMANDS_MAX {
        texts.push(text);
    }
}
