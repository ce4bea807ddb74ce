//! What the portal answers, before any fault touches it.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::text;
use super::value::{self, Value};
use super::wire::Head;

/// An answer ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// Headers besides `Date`, `Connection` and the framing.
    pub(super) headers: Vec<(String, String)>,
    /// The body.
    pub(super) body: Payload,
    /// The error code, empty for success; for the request log.
    pub(super) code: String,
    /// Whether a method's body ran.
    pub(super) executed: bool,
    /// How long the method takes.
    pub(super) delay: Duration,
}

/// The body of an answer.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// That many bytes of the pattern `0, 1, ..., 250, 0, ...`, chunked or with a length.
    Pattern { size: u64, chunked: bool },
}

/// The two spellings of v1/v2 answers (Bitrix24 REST docs, general principles).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    /// `application/json; charset=utf-8`
    Json,
    /// `text/xml; charset=utf-8`
    Xml,
}

/// An error as the portal or the OAuth server reports it.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    /// The status code.
    pub(super) status: u16,
    /// The value of `error`.
    pub(super) code: String,
    /// The value of `error_description`; a `None` leaves the field out.
    pub(super) description: Option<String>,
}

/// In which disguise an error is written: portals and their proxies have all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disguise {
    /// As the request asks for it.
    #[default]
    Plain,
    /// JSON, even if XML was asked for.
    Json,
    /// XML, even if JSON was asked for.
    Xml,
    /// Compressed, whatever `Accept-Encoding` says.
    Gzip,
    /// JSON behind a byte order mark.
    Bom,
    /// `charset=windows-1251`, with a description in it.
    Cp1251,
    /// With status 200, as handlers that return error arrays do (rest module, rest.php).
    #[serde(rename = "200")]
    Status200,
}

impl ApiError {
    pub(super) fn new(status: u16, code: &str, description: &str) -> Self {
        let description = Some(description.to_owned());
        Self { status, code: code.to_owned(), description }
    }

    /// The error as an object.
    pub(super) fn value(&self) -> Value {
        let mut value = Value::map([("error", self.code.as_str().into())]);
        if let Some(description) = &self.description {
            value.set("error_description", description.as_str().into());
        }
        value
    }

    /// The error as an answer.
    pub(super) fn answer(&self, format: Format, disguise: Disguise) -> Answer {
        let format = match disguise {
            Disguise::Xml => Format::Xml,
            Disguise::Json | Disguise::Bom | Disguise::Cp1251 => Format::Json,
            Disguise::Plain | Disguise::Gzip | Disguise::Status200 => format,
        };
        let mut answer = Answer::of(self.status, &self.value(), format);
        answer.code.clone_from(&self.code);
        match disguise {
            Disguise::Plain | Disguise::Json | Disguise::Xml => {}
            Disguise::Gzip => answer.compress(),
            Disguise::Bom => answer.edit(|body| [b"\xef\xbb\xbf", body.as_slice()].concat()),
            Disguise::Cp1251 => {
                answer.set_header("Content-Type", "application/json; charset=windows-1251");
                // "Srok istek" in Cyrillic letters of that code page: not valid UTF-8.
                let russian =
                    b"\"error_description\":\"\xd1\xf0\xee\xea \xe8\xf1\xf2\xe5\xea".to_vec();
                let code = format!("{{\"error\":\"{}\",", self.code).into_bytes();
                answer.edit(|_utf8| [code, russian, b"\"}".to_vec()].concat());
            }
            Disguise::Status200 => answer.status = 200,
        }
        answer
    }
}

impl Answer {
    /// An empty answer.
    pub(super) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Payload::Bytes(Vec::new()),
            code: String::new(),
            executed: false,
            delay: Duration::ZERO,
        }
    }

    /// A value in that format.
    pub(super) fn of(status: u16, value: &Value, format: Format) -> Self {
        let (content_type, body) = match format {
            Format::Json => ("application/json; charset=utf-8", value.to_json()),
            Format::Xml => ("text/xml; charset=utf-8", value::to_xml(value)),
        };
        Self::with_body(status, content_type, body)
    }

    /// Some bytes.
    pub(super) fn with_body(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut answer = Self::new(status);
        answer.set_header("Content-Type", content_type);
        answer.body = Payload::Bytes(body.into());
        answer
    }

    /// The page of a front end that is not the API.
    pub(super) fn html(status: u16) -> Self {
        let reason = reason(status);
        let page = format!(
            "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>\
             {status} {reason}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        let mut answer = Self::with_body(status, "text/html", page);
        "html".clone_into(&mut answer.code);
        answer
    }

    /// Sets a header, in the place of one of the same name.
    pub(super) fn set_header(&mut self, name: &str, value: &str) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Adds the headers that every REST answer has (rest module, `rest_util.php`).
    pub(super) fn dress(&mut self, client_id: &str, with_cookie: bool) {
        self.set_header("Access-Control-Allow-Origin", "*");
        self.set_header("Access-Control-Allow-Headers", "origin, content-type, accept");
        self.set_header("X-Content-Type-Options", "nosniff");
        self.set_header("X-Bitrix-Rest-Application", client_id);
        for name in ["X-Bitrix-Rest-Time", "X-Bitrix-Rest-User-Time", "X-Bitrix-Rest-System-Time"] {
            self.set_header(name, "0.0012");
        }
        if with_cookie {
            let cookie = format!("PHPSESSID={}; path=/; secure; HttpOnly", text::random_hex(16));
            self.headers.push(("Set-Cookie".to_owned(), cookie));
            self.headers.push(("Set-Cookie".to_owned(), "qmb=0.; path=/".to_owned()));
        }
    }

    /// Compresses if the client accepts it (RFC 9110 section 12.5.3) and the body is in memory.
    pub(super) fn compress_for(&mut self, head: &Head) {
        let compressed = self.headers.iter().any(|(name, _)| name == "Content-Encoding");
        if head.lists("accept-encoding", "gzip") && !compressed {
            self.compress();
        }
    }

    /// Changes the bytes of the body.
    pub(super) fn edit(&mut self, change: impl FnOnce(&Vec<u8>) -> Vec<u8>) {
        if let Payload::Bytes(body) = &self.body {
            self.body = Payload::Bytes(change(body));
        }
    }

    fn compress(&mut self) {
        let Payload::Bytes(body) = &self.body else {
            return;
        };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        if let Ok(packed) = encoder.write_all(body).and_then(|()| encoder.finish()) {
            self.body = Payload::Bytes(packed);
            self.set_header("Content-Encoding", "gzip");
            self.set_header("Vary", "Accept-Encoding");
        }
    }
}

/// The reason phrase of a status.
pub(super) fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}
