//! The one listener that may be public: `/oauth/start`, `/oauth/callback`, `/oauth/done`, `/install`,
//! `/events`. Nothing here can reach `/rest` or the operator's pages.

use std::sync::Arc;

use http::StatusCode;
use tokio::net::TcpListener;

use crate::connect::Connect;
use crate::door;

/// Serves until it is aborted.
pub async fn serve(listener: TcpListener, connect: Arc<Connect>) {
    door::serve(listener, move |_request| {
        let _connect = connect.clone();
        async move { door::text(StatusCode::NOT_FOUND, "not found\n") }
    })
    .await;
}
