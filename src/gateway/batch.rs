//! The commands inside a batch, for a client that may not call everything.
//!
//! A batch is let through only when all of its commands could be read and each of them is allowed.
//! Readers of PHP differ from version to version, so a body is read in every way in which a portal
//! could read it (as a form, as JSON, as multipart), whatever its type says, and what any of these
//! readings takes for a command counts. What cannot be read as its own type is refused.

mod json;
mod multipart;
#[cfg(test)]
mod tests;

use crate::client::{Client, Rules};
use crate::error::{Kind, Refusal};
use crate::gateway::admit::Call;
use crate::gateway::caller::forbidden;
use crate::gateway::parameter::decoded;
use crate::gateway::query::php_name;
use crate::gateway::route::{Api, is_method};

/// Lets the batch through, or says what of it this client may not do.
pub(crate) fn check(client: &Client, call: &Call, body: &[u8]) -> Result<(), Refusal> {
    if call.unclear_body {
        return Err(refused(client, "its body is compressed, or has two content types"));
    }
    let batch = Batch {
        api: call.api,
        query: call.head.query(),
        content_type: call.content_type.as_deref(),
        body,
    };
    batch.check(&client.rules).map_err(|fault| match fault {
        Fault::Forbidden(method) => forbidden(client, &method, " inside a batch"),
        Fault::Unreadable(why) => refused(client, why),
    })
}

/// A batch that did not fit into memory.
pub(crate) fn too_large(client: &Client) -> Refusal {
    refused(client, "it does not fit into the memory for it")
}

/// Whether a body of this type is JSON for everybody.
pub(crate) fn is_json(content_type: Option<&[u8]>) -> bool {
    Type::of(content_type) == Type::Json
}

fn refused(client: &Client, why: &str) -> Refusal {
    let text = format!(
        "client {:?} has rules, and this batch cannot be checked against them: {why}; send the \
         batch as JSON or as a form, at most gateway.replay_memory large",
        client.name
    );
    Refusal::new(Kind::MethodForbidden, text)
}

/// Why a batch is refused.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// This method, which has the form of one.
    Forbidden(Vec<u8>),
    Unreadable(&'static str),
}

/// A batch as it goes to the portal.
#[derive(Debug)]
struct Batch<'b> {
    api: Api,
    query: &'b [u8],
    content_type: Option<&'b [u8]>,
    body: &'b [u8],
}

/// What a content type makes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Form,
    Json,
    Multipart,
    Unknown,
}

impl Batch<'_> {
    fn check(&self, rules: &Rules) -> Result<(), Fault> {
        let mut commands = Commands { rules, count: 0 };
        form(self.query, &mut commands)?;
        if !self.body.is_empty() {
            self.check_body(&mut commands)?;
        }
        // Where there is none, nobody has understood where they are.
        if commands.count == 0 {
            return Err(Fault::Unreadable("no command was found in it"));
        }
        Ok(())
    }

    fn check_body(&self, commands: &mut Commands<'_>) -> Result<(), Fault> {
        let kind = Type::of(self.content_type);
        if kind == Type::Unknown || (self.api == Api::V3 && kind != Type::Json) {
            return Err(Fault::Unreadable("its content type is none that it can have"));
        }
        form(self.body, commands)?;
        let is_json = json::read(self.body, self.api, commands)?;
        let looks_so = matches!(self.body.trim_ascii_start().first(), Some(b'{' | b'['));
        if !is_json && (looks_so || kind == Type::Json) {
            return Err(Fault::Unreadable("its JSON is broken, or not that of a batch"));
        }
        if kind == Type::Multipart {
            multipart::read(self.content_type.unwrap_or_default(), self.body, commands)?;
        }
        Ok(())
    }
}

impl Type {
    fn of(content_type: Option<&[u8]>) -> Self {
        let content_type = content_type.unwrap_or_default();
        let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
        match &*kind.trim_ascii().to_ascii_lowercase() {
            b"" | b"application/x-www-form-urlencoded" => Self::Form,
            b"application/json" => Self::Json,
            b"multipart/form-data" => Self::Multipart,
            kind if kind.starts_with(b"application/") && kind.ends_with(b"+json") => Self::Json,
            _ => Self::Unknown,
        }
    }
}

/// What was found, each checked as it was found.
struct Commands<'r> {
    rules: &'r Rules,
    count: usize,
}

impl Commands<'_> {
    /// `method?query`, as the portal has it after all decoding of the parameter.
    fn command(&mut self, command: &[u8]) -> Result<(), Fault> {
        let method = command.split(|byte| *byte == b'?').next().unwrap_or_default();
        self.method(method)
    }

    /// A method, byte for byte.
    fn method(&mut self, method: &[u8]) -> Result<(), Fault> {
        self.count += 1;
        if self.count > COMMANDS_MAX {
            return Err(Fault::Unreadable("it has more than 50 commands"));
        }
        if !is_method(method) {
            return Err(Fault::Unreadable("a command in it does not begin with a method's name"));
        }
        let bare = Rules::bare(method);
        if bare.eq_ignore_ascii_case(b"batch") {
            return Err(Fault::Unreadable("there is another batch in it"));
        }
        // A batch does not know suffixes, so such a name may be a method of its own.
        if self.rules.permit(bare) && (bare == method || self.rules.permit(method)) {
            Ok(())
        } else {
            Err(Fault::Forbidden(method.to_vec()))
        }
    }
}

/// Reads `cmd[...]` of a query or a form; `;` parts pairs, too, where PHP is set up so.
fn form(text: &[u8], commands: &mut Commands<'_>) -> Result<(), Fault> {
    for pair in text.split(|byte| *byte == b'&') {
        parameter(pair, commands)?;
        for pair in pair.split(|byte| *byte == b';').skip(1) {
            parameter(pair, commands)?;
        }
    }
    Ok(())
}

fn parameter(pair: &[u8], commands: &mut Commands<'_>) -> Result<(), Fault> {
    let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
    let (name, value) = pair.split_at(at);
    if is_cmd(&php_name(name)) {
        commands.command(&decoded(value.get(1..).unwrap_or_default()))?;
    }
    Ok(())
}

/// Names of a batch's parameters are compared without regard to case.
fn is_cmd(name: &[u8]) -> bool {
    name.trim_ascii().eq_ignore_ascii_case(b"cmd")
}

/// The portal runs no more.
const COMMANDS_MAX: usize = 50;
