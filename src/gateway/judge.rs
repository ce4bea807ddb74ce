//! Judging an answer, looking no further into its body than its status makes necessary.

use crate::gateway::deadline::Deadline;
use crate::gateway::forward::{Failure, Forward};
use crate::gateway::head::Framing;
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::reply::{NotHttp, Reply};
use crate::gateway::upstream::Conn;
use crate::gateway::verdict::{self, ERROR_START, Finding, Look};
use crate::gateway::wire::ClientStream;

impl Forward<'_> {
    /// What the answer means.
    pub(crate) async fn judge<S: ClientStream>(
        &self,
        inbound: &Inbound<S>,
        conn: &mut Conn,
        reply: &Reply,
    ) -> Result<Finding, Stop> {
        let at_sight = verdict::at_sight(reply, self.call.is_download);
        let most = match verdict::look(reply) {
            Look::Nothing => return Ok(at_sight),
            Look::Start if !self.starts_like_an_error(&inbound.deadline, conn, reply).await? => {
                return Ok(at_sight);
            }
            Look::Small => verdict::PACKED_ERROR_MAX,
            Look::Start | Look::Whole => HELD_MAX,
        };
        let looking = async {
            loop {
                let (seen, whole) = reply.look(conn.arrived(), most)?;
                let seen = seen.into_owned();
                if whole || seen.len() >= most || conn.is_full() {
                    return Ok(whole.then_some(seen));
                }
                match conn.read().await {
                    Ok(1..) => {}
                    Ok(0) if reply.framing == Framing::Close => return Ok(Some(seen)),
                    _ => return Ok(None), // cut off; delivering it will show that
                }
            }
        };
        let limit = self.settings.portal_timeout;
        let seen = inbound.deadline.limit(limit, looking).await;
        match seen.unwrap_or(Ok(None)) {
            // An answer to HEAD has no body that could say more than its status.
            Ok(Some(_)) if self.call.manner.head_only && reply.status == 401 => {
                Ok(Finding::MaybeExpired)
            }
            Ok(Some(body)) => Ok(verdict::judge(reply, self.call.api, &body)),
            Ok(None) => Ok(at_sight),
            Err(NotHttp(reason)) => Err(self.failed(Failure::Broken(reason))),
        }
    }

    async fn starts_like_an_error(
        &self,
        deadline: &Deadline,
        conn: &mut Conn,
        reply: &Reply,
    ) -> Result<bool, Stop> {
        loop {
            if reply.starts_with_enough(conn.arrived(), ERROR_START) {
                let (seen, _) = reply
                    .look(conn.arrived(), ERROR_START)
                    .map_err(|NotHttp(reason)| self.failed(Failure::Broken(reason)))?;
                return Ok(verdict::starts_like_an_error(&seen));
            }
            let read = deadline.limit(self.settings.portal_timeout, conn.read()).await;
            if !matches!(read, Ok(Ok(1..))) {
                return Ok(false);
            }
        }
    }
}

/// The most of an error body that is ever held.
const HELD_MAX: usize = 64 * 1024 - 4096;
