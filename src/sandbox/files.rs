//! Files: links that are signed, downloads that know ranges, uploads in two steps.

use super::answer::{Answer, ApiError, Payload};
use super::links::{self, Link};
use super::methods::Outcome;
use super::portal::Call;
use super::value::Value;

/// A file of the disk, with the link that downloads it (Bitrix24 REST docs, disk.file.get).
pub(super) fn file_get(call: &mut Call<'_>, params: &Value) -> Result<Outcome, ApiError> {
    let id = params.get_any_case("id").and_then(Value::int);
    let id =
        id.ok_or_else(|| ApiError::new(400, "ERROR_ARGUMENT", "Argument 'id' is null or empty"))?;
    let url = link(call, "download", &format!("id={id}"));
    Ok(Outcome::of(Value::map([
        ("ID", id.to_string().into()),
        ("NAME", format!("file-{id}.bin").into()),
        ("TYPE", "file".into()),
        ("SIZE", (FILE_SIZE as u64).into()),
        ("DOWNLOAD_URL", url.into()),
        ("DETAIL_URL", format!("/docs/file/file-{id}.bin").into()),
    ])))
}

/// The first step of an upload: where to, and in which field (Bitrix24 REST docs,
/// disk.folder.uploadfile).
pub(super) fn upload_link(call: &mut Call<'_>, params: &Value) -> Outcome {
    let id = params.get_any_case("id").and_then(Value::int).unwrap_or(1);
    let url = link(call, "upload", &format!("folder={id}"));
    Outcome::of(Value::map([("field", "file".into()), ("uploadUrl", url.into())]))
}

/// The second step of an upload.
pub(super) fn upload(call: &mut Call<'_>, params: &Value) -> Result<Outcome, ApiError> {
    let file = params.get("file").filter(|file| file.get("sha256").is_some());
    let file = file.ok_or_else(|| ApiError::new(400, "ERROR_ARGUMENT", "File was not uploaded"))?;
    let uploads = &mut call.inner.records.uploads;
    uploads.push(file.clone());
    let mut record = file.clone();
    record.set("ID", (uploads.len() as u64 + 1_000).into());
    if uploads.len() > UPLOADS_MAX {
        uploads.remove(0);
    }
    Ok(Outcome::of(record))
}

/// The raw file, or one range of it (rest module and main module, file.php).
pub(super) fn download(call: &mut Call<'_>, params: &Value) -> Outcome {
    let id = params.get("id").and_then(Value::text).unwrap_or_default();
    let content: Vec<u8> = (0..=250).cycle().take(FILE_SIZE).collect();
    let range = call.request.head.header("range").map(|range| parse_range(range, content.len()));
    let mut answer = match range {
        None => Answer::with_body(200, "application/octet-stream", content),
        Some(None) => {
            let mut refusal = Answer::with_body(416, "text/html", "");
            refusal.set_header("Content-Range", &format!("bytes */{FILE_SIZE}"));
            return Outcome::raw(refusal);
        }
        Some(Some((first, last))) => {
            let part = content.get(first..=last).unwrap_or_default().to_vec();
            let mut partial = Answer::with_body(206, "application/octet-stream", part);
            partial.set_header("Content-Range", &format!("bytes {first}-{last}/{FILE_SIZE}"));
            partial
        }
    };
    let name = format!("file-{id}.bin");
    let disposition = format!("attachment; filename=\"{name}\"; filename*=utf-8''{name}");
    answer.set_header("Content-Disposition", &disposition);
    answer.set_header("Accept-Ranges", "bytes");
    answer.set_header("Last-Modified", "Fri, 21 Aug 2026 10:00:00 GMT");
    debug_assert!(matches!(answer.body, Payload::Bytes(_)), "files are small");
    Outcome::raw(answer)
}

fn link(call: &Call<'_>, method: &str, query: &str) -> String {
    let base = call.state.portal_url(&call.inner.switches);
    let link = Link {
        method,
        scope: "disk",
        query,
        credential: call.session.credential.as_deref().unwrap_or_default(),
        webhook: call.session.webhook.as_deref(),
    };
    links::sign(&call.state.identity.link_key, &base, &link)
}

/// One byte range as (first, last); several ranges are refused, as the portal refuses them.
fn parse_range(range: &str, size: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.is_empty(), last.is_empty()) {
        (true, _) => (size.checked_sub(last.parse().ok()?)?, size - 1),
        (false, true) => (first.parse().ok()?, size - 1),
        (false, false) => (first.parse().ok()?, last.parse::<usize>().ok()?.min(size - 1)),
    };
    (first <= last).then_some((first, last))
}

const FILE_SIZE: usize = 100_000;
const UPLOADS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_served_and_several_are_not() {
        assert_eq!(parse_range("bytes=0-9", 100), Some((0, 9)));
        assert_eq!(parse_range("bytes=90-", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=-10", 100), Some((90, 99)));
        assert_eq!(parse_range("bytes=0-1,5-6", 100), None);
        assert_eq!(parse_range("bytes=100-", 100), None);
    }
}
