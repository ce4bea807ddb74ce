//! Signed links, downloads and uploads.

use super::Bench;
use super::rest::refused;

#[tokio::test]
async fn links_are_bound_to_the_token_that_was_a_parameter() {
    let bench = Bench::start().await;
    let token = &bench.seed.access_token;
    let file = bench.get(&format!("/rest/disk.file.get?id=5&auth={token}")).await.result();
    let link = file["DOWNLOAD_URL"].as_str().unwrap().to_owned();
    let target = link.strip_prefix(&bench.seed.portal_url).unwrap();
    assert!(target.starts_with(&format!("/rest/download.json?auth={token}&token=disk%7C")));
    let reply = bench.get(target).await;
    assert_eq!((reply.status, reply.body.len()), (200, 100_000));
    assert!(reply.head.contains("Content-Disposition: attachment; filename=\"file-5.bin\""));
    let newer = bench.control.seed().access_token;
    refused(&bench, &target.replace(token.as_str(), &newer), 403, "ACCESS_DENIED").await;
    assert_eq!(bench.bearer(target).await.status, 403, "Bearer leaves no auth to compare");
}

#[tokio::test]
async fn links_made_under_bearer_carry_no_token_and_open_under_any_bearer() {
    let bench = Bench::start().await;
    let file = bench.bearer("/rest/disk.file.get?id=5").await.result();
    let link = file["DOWNLOAD_URL"].as_str().unwrap().to_owned();
    assert!(!link.contains("auth="));
    let target = link.strip_prefix(&bench.seed.portal_url).unwrap();
    assert_eq!(bench.bearer(target).await.status, 200);
    refused(&bench, target, 401, "NO_AUTH_FOUND").await;
    assert_eq!(bench.bearer("/rest/profile?token=x").await.status, 403);
}

#[tokio::test]
async fn a_download_knows_ranges() {
    let bench = Bench::start().await;
    let bearer = format!("Authorization: Bearer {}", bench.seed.access_token);
    let range = |range: &'static str| {
        let (bench, bearer) = (&bench, &bearer);
        async move { bench.call("GET", "/rest/download?id=5", &[bearer, range], b"").await }
    };
    let part = range("Range: bytes=10-12").await;
    assert_eq!((part.status, part.body), (206, vec![10, 11, 12]));
    assert_eq!(range("Range: bytes=0-1,5-6").await.status, 416);
}

#[tokio::test]
async fn an_upload_takes_two_steps() {
    let bench = Bench::start().await;
    let step = bench.bearer("/rest/disk.folder.uploadfile?id=1").await.result();
    let target = step["uploadUrl"].as_str().unwrap().replace(&bench.seed.portal_url, "");
    let body =
        "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc\r\n--B--";
    let bearer = format!("Authorization: Bearer {}", bench.seed.access_token);
    let kind = "Content-Type: multipart/form-data; boundary=B";
    let reply = bench.call("POST", &target, &[&bearer, kind], body.as_bytes()).await;
    assert_eq!(reply.result()["size"], 3);
}
