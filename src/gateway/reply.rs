//! The head of a portal's answer: read strictly, and rewritten for the client in the same pass.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::time::Duration;

use crate::gateway::answer::Manner;
use crate::gateway::chunked::Chunked;
use crate::gateway::field::{AnswerField, answer_field};
use crate::gateway::head::{Framing, elements, read_length};

/// An answer whose head has been read; its body still lies with the connection.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// `Content-Length` as stated, also where there is no body (HEAD, 304).
    pub(crate) declared: Option<u64>,
    /// The portal keeps the connection open.
    pub(crate) keeps_open: bool,
    /// `Keep-Alive: timeout=`
    pub(crate) idle_max: Option<Duration>,
    pub(crate) content: Content,
    pub(crate) encoding: Encoding,
    /// `Content-Disposition`: a file, whatever its type.
    pub(crate) is_file: bool,
    pub(crate) location: Option<String>,
    pub(crate) has_retry_after: bool,
    /// Status line and fields for the client; framing and the gateway's own fields are missing.
    pub(crate) head: Vec<u8>,
}

/// How an answer is framed towards the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct To {
    /// In the fields.
    pub(crate) stated: Framing,
    /// On the wire.
    pub(crate) body: Framing,
}

/// What the body is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    Xml,
    Html,
    Other,
}

/// How the body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Gzip,
    /// Something that was not asked for and cannot be read here.
    Unknown,
}

/// What the portal sent is not an answer; the text says why, for the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotHttp(pub(crate) &'static str);

/// What lies at the front of a connection's inbox.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// More bytes are needed.
    Partial,
    /// An interim answer (RFC 9110, section 15.2) of this many bytes, to be skipped.
    Interim(usize),
    /// A final answer whose head takes this many bytes.
    Final(usize, Reply),
}

/// Reads the head at the front of `bytes`.
pub(crate) fn parse(bytes: &[u8], to_head: bool) -> Result<Parsed, NotHttp> {
    // Left as they are: to fill so many with nothing takes longer than to read the head.
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let reader = httparse::ParserConfig::default();
    let length = match reader.parse_response_with_uninit_headers(&mut answer, bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(_) => return Err(NotHttp("the answer's head is not HTTP")),
    };
    let (Some(status), Some(version)) = (answer.code, answer.version) else {
        return Err(NotHttp("the answer has no status"));
    };
    match status {
        101 => return Err(NotHttp("the portal switches protocols unasked")),
        100..=199 => return Ok(Parsed::Interim(length)),
        200..=599 => {}
        _ => return Err(NotHttp("the status is out of range")),
    }
    let reason = answer.reason.unwrap_or_default();
    let reply = Reply::read(status, reason, version, answer.headers)?.delimited(to_head)?;
    Ok(Parsed::Final(length, reply))
}

impl Reply {
    fn read(
        status: u16,
        reason: &str,
        version: u8,
        fields: &[httparse::Header<'_>],
    ) -> Result<Self, NotHttp> {
        let mut reply = Self {
            status,
            framing: Framing::Close,
            declared: None,
            keeps_open: version == 1,
            idle_max: None,
            content: Content::Other,
            encoding: Encoding::Plain,
            is_file: false,
            location: None,
            has_retry_after: false,
            head: Vec::with_capacity(CAPACITY),
        };
        reply.head.extend_from_slice(b"HTTP/1.1 ");
        reply.head.extend_from_slice(&digits(status));
        reply.head.push(b' ');
        reply.head.extend_from_slice(reason.as_bytes());
        reply.head.extend_from_slice(b"\r\n");
        for field in fields {
            reply.read_field(field)?;
        }
        Ok(reply)
    }

    fn read_field(&mut self, field: &httparse::Header<'_>) -> Result<(), NotHttp> {
        match answer_field(field.name) {
            AnswerField::Pass => {}
            AnswerField::Drop => return Ok(()),
            AnswerField::Connection => {
                for option in elements(field.value) {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.keeps_open = false;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        self.keeps_open = true;
                    }
                }
                return Ok(());
            }
            AnswerField::KeepAlive => {
                self.idle_max = keep_alive_timeout(field.value);
                return Ok(());
            }
            AnswerField::ContentLength => {
                let length = read_length(field.value);
                if length.is_none() || self.declared.is_some() {
                    return Err(NotHttp("the answer's Content-Length is ambiguous"));
                }
                self.declared = length;
                return Ok(());
            }
            AnswerField::TransferEncoding => {
                let known = field.value.eq_ignore_ascii_case(b"chunked");
                if !known || self.framing == Framing::Chunked {
                    return Err(NotHttp("the answer's Transfer-Encoding is not `chunked`"));
                }
                self.framing = Framing::Chunked;
                return Ok(());
            }
            AnswerField::Location => {
                self.location = std::str::from_utf8(field.value).ok().map(str::to_owned);
                return Ok(());
            }
            AnswerField::ContentType => self.content = Content::of(field.value),
            AnswerField::ContentEncoding => self.encoding = Encoding::of(field.value),
            AnswerField::ContentDisposition => self.is_file = true,
            AnswerField::RetryAfter => self.has_retry_after = true,
        }
        self.head.extend_from_slice(field.name.as_bytes());
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(field.value);
        self.head.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// RFC 9112, section 6.3, for answers.
    fn delimited(mut self, to_head: bool) -> Result<Self, NotHttp> {
        if self.framing == Framing::Chunked && self.declared.is_some() {
            return Err(NotHttp("the answer has a length and is chunked"));
        }
        if to_head || matches!(self.status, 204 | 304) {
            self.framing = Framing::None;
        } else if let Some(length) = self.declared {
            self.framing = if length == 0 { Framing::None } else { Framing::Length(length) };
        }
        self.keeps_open &= self.framing != Framing::Close;
        Ok(self)
    }

    /// How the client is told about the body's end.
    pub(crate) fn framing_for(&self, manner: &mut Manner) -> To {
        match self.framing {
            // HEAD and 304 state the length that the body would have had.
            Framing::None => {
                let bodiless =
                    self.status == 204 || (self.status == 304 && self.declared.is_none());
                let stated = match self.declared {
                    Some(length) => Framing::Length(length),
                    None if manner.head_only || bodiless => Framing::None,
                    None => Framing::Length(0),
                };
                To { stated, body: Framing::None }
            }
            Framing::Length(length) => {
                To { stated: Framing::Length(length), body: Framing::Length(length) }
            }
            Framing::Chunked | Framing::Close if manner.http10 => {
                manner.close = true;
                To { stated: Framing::Close, body: Framing::Close }
            }
            Framing::Chunked | Framing::Close => {
                To { stated: Framing::Chunked, body: Framing::Chunked }
            }
        }
    }

    /// How many of the bytes at hand are the body, if all of it is there.
    pub(crate) fn length_at_hand(&self, arrived: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::None => Some(0),
            Framing::Close => None,
            Framing::Length(length) => {
                usize::try_from(length).ok().filter(|length| arrived.len() >= *length)
            }
            Framing::Chunked => {
                let (mut chunked, mut at) = (Chunked::new(), 0);
                loop {
                    let piece = chunked.next(arrived.get(at..)?).ok()?;
                    at += piece.skip + piece.data;
                    if chunked.is_done() {
                        return Some(at);
                    }
                    if piece.data == 0 {
                        return None;
                    }
                }
            }
        }
    }

    /// Whether `most` bytes of the body, or all of it, are at hand.
    pub(crate) fn starts_with_enough(&self, arrived: &[u8], most: usize) -> bool {
        match self.framing {
            Framing::None => true,
            Framing::Length(length) => arrived.len() as u64 >= length.min(most as u64),
            // A size line of up to 16 digits stands before the first byte.
            Framing::Chunked | Framing::Close => {
                self.look(arrived, most).is_ok_and(|(seen, whole)| whole || seen.len() >= most)
            }
        }
    }

    /// The first bytes of the body, decoded from chunks, as far as `arrived` goes; and whether that
    /// is all of it.
    pub(crate) fn look<'a>(
        &self,
        arrived: &'a [u8],
        most: usize,
    ) -> Result<(Cow<'a, [u8]>, bool), NotHttp> {
        match self.framing {
            Framing::None => Ok((Cow::default(), true)),
            Framing::Close => Ok((arrived.get(..most).unwrap_or(arrived).into(), false)),
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let here = arrived.len().min(length);
                let seen = arrived.get(..here.min(most)).unwrap_or_default();
                Ok((seen.into(), here == length && length <= most))
            }
            Framing::Chunked => {
                let (seen, whole) = look_into_chunks(arrived, most)?;
                Ok((seen.into(), whole))
            }
        }
    }
}

fn look_into_chunks(mut rest: &[u8], most: usize) -> Result<(Vec<u8>, bool), NotHttp> {
    let mut chunked = Chunked::new();
    let mut body = Vec::new();
    while body.len() < most {
        let piece =
            chunked.next(rest).map_err(|_broken| NotHttp("the answer's chunks are broken"))?;
        let data = rest.get(piece.skip..piece.skip + piece.data).unwrap_or_default();
        body.extend_from_slice(data);
        rest = rest.get(piece.skip + piece.data..).unwrap_or_default();
        if piece.data == 0 {
            break;
        }
    }
    Ok((body, chunked.is_done()))
}

impl Content {
    fn of(value: &[u8]) -> Self {
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |known: &[u8]| kind.eq_ignore_ascii_case(known);
        if is(b"application/json") || kind.ends_with(b"+json") || is(b"text/json") {
            Self::Json
        } else if is(b"text/xml") || is(b"application/xml") {
            Self::Xml
        } else if is(b"text/html") {
            Self::Html
        } else {
            Self::Other
        }
    }
}

impl Encoding {
    fn of(value: &[u8]) -> Self {
        let value = value.trim_ascii();
        if value.is_empty() || value.eq_ignore_ascii_case(b"identity") {
            Self::Plain
        } else if value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip") {
            Self::Gzip
        } else {
            Self::Unknown
        }
    }
}

/// One second less than stated, so that the portal does not close what is about to be used.
fn keep_alive_timeout(value: &[u8]) -> Option<Duration> {
    elements(value)
        .find_map(|part| part.strip_prefix(b"timeout="))
        .and_then(read_length)
        .map(|seconds| Duration::from_secs(seconds.saturating_sub(1)))
}

fn digits(status: u16) -> [u8; 3] {
    let digit = |value: u16| b'0' + u8::try_from(value % 10).unwrap_or_default();
    [digit(status / 100), digit(status / 10), digit(status)]
}

/// Answers with more fields than this are not Bitrix24's.
const FIELDS_MAX: usize = 128;
/// Room for the fields of an ordinary answer and what the gateway adds.
const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests;
