//! What both dialects of uploads in parts share: what a URL of an attempt allows, and how a part gets into one.

use std::sync::Arc;

use axum::extract::FromRequestParts as _;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::sync::mpsc;

use super::link::{CanUpload, TransferPermit, attempt_of, token_of};
use super::problems::{invalid_header, method_not_taken, too_large_with, wrong_media_type};
use super::upload_headers::UPLOAD_LIMIT;
use crate::api::answer::{ceil_seconds, private_headers};
use crate::api::app::App;
use crate::api::client::LinkBase;
use crate::api::problem::Problem;
use crate::grant::UploadGrant;
use crate::limits::Permit;
use crate::secret::Secret;
use crate::service::sources::attempts::{Appended, Part};
use crate::service::sources::body::{BrokenBody, Sent};
use crate::service::sources::{Slot, SourceError};
use crate::source::SourceId;
use crate::store::{Attempt, Plan, settle};

/// The methods of a link that need no header.
pub(super) const METHODS_OF_ALL: &str = "GET, HEAD, PUT, OPTIONS";
/// The longest text of a number that fits.
const MAX_DIGITS: usize = 19;
/// How many pieces of a body may wait between the request and its attempt.
const PIECES_BETWEEN: usize = 4;

/// What a URL of an attempt allows: to go on with it.
pub(super) struct OfAttempt {
    pub(super) grant: UploadGrant,
    pub(super) attempt: Attempt,
}

impl OfAttempt {
    /// A link that names none takes no part.
    pub(super) async fn read(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let CanUpload(grant) = CanUpload::from_request_parts(parts, app).await?;
        let attempt = attempt_of(parts).ok_or_else(|| method_not_taken(METHODS_OF_ALL))?;
        Ok(Self { grant, attempt })
    }
}

/// The URL of an attempt: the link, as it was asked, and which attempt it is.
pub(super) async fn location(
    parts: &mut Parts,
    app: &Arc<App>,
    source: SourceId,
    attempt: Attempt,
) -> Result<Secret, Problem> {
    let Ok(LinkBase(base)) = LinkBase::from_request_parts(parts, app).await;
    let link = base.link(source, &Secret::new(token_of(parts)));
    let link = format!("{}&attempt={}", link.reveal(), attempt.simple());
    Ok(Secret::new(link))
}

/// The right to send a part: a place among the transfers of the client's address, and among all.
pub(super) struct Transfer {
    permit: Option<Permit>,
    slot: Slot,
}

impl Transfer {
    pub(super) async fn begin(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let TransferPermit(permit) = TransferPermit::from_request_parts(parts, app).await?;
        let slot = app.service.sources.take_slot()?;
        Ok(Self { permit, slot })
    }
}

/// Begins an attempt. What is counted of it must be noted or taken back even if the client, and with it the request, goes
/// away: so this is done by a task of its own.
pub(super) async fn begin_attempt(
    app: Arc<App>,
    grant: UploadGrant,
    plan: Plan,
) -> Result<OfAttempt, SourceError> {
    let begun = tokio::spawn(async move {
        let attempt = app.service.sources.begin_attempt(&grant, &plan).await?;
        Ok(OfAttempt { grant, attempt })
    });
    settle(begun.await)
}

/// Appends the body of a request to an attempt. What came of it is kept even if the client, and with it the request,
/// goes away: so the attempt is worked on by a task of its own, which is told of a proper end.
pub(super) async fn append_body(
    app: Arc<App>,
    of: OfAttempt,
    transfer: Transfer,
    part: Part,
    mut pieces: impl Stream<Item = Result<Sent, BrokenBody>> + Unpin,
) -> Result<Appended, SourceError> {
    let (to_attempt, from_request) = mpsc::channel(PIECES_BETWEEN);
    let mut task = tokio::spawn(async move {
        let Transfer { permit, slot } = transfer;
        let _permit = permit;
        let body = Box::pin(sent_by(from_request));
        let sources = &app.service.sources;
        sources
            .append(slot, &of.grant, of.attempt, part, body)
            .await
    });
    let send = async {
        while let Some(piece) = pieces.next().await {
            if to_attempt.send(Some(piece)).await.is_err() {
                return;
            }
        }
        let _ = to_attempt.send(None).await;
    };
    let appended = tokio::select! {
        appended = &mut task => appended,
        () = send => task.await,
    };
    settle(appended)
}

/// A body as its request passes it on: one that ends without a word broke off.
fn sent_by(
    from_request: mpsc::Receiver<Option<Result<Sent, BrokenBody>>>,
) -> impl Stream<Item = Result<Sent, BrokenBody>> {
    stream::unfold(Some(from_request), async |from_request| {
        let mut from_request = from_request?;
        match from_request.recv().await {
            Some(Some(piece)) => Some((piece, Some(from_request))),
            Some(None) => None,
            None => Some((Err(BrokenBody::EndedEarly), None)),
        }
    })
}

/// `Upload-Limit`: what is left to an upload.
pub(super) fn limit_text(app: &App, source: SourceId) -> String {
    let left = source.expires_at().since(app.service.clock.now());
    let max_age = ceil_seconds(left);
    match app.service.sources.upload_limit_bytes() {
        u64::MAX => format!("max-age={max_age}"),
        max_size => format!("max-size={max_size}, max-age={max_age}"),
    }
}

/// Says in the refusal of what is too large how large it may be.
pub(super) fn with_limit(app: &App, source: SourceId, problem: Problem) -> Problem {
    too_large_with(problem, &UPLOAD_LIMIT, &limit_text(app, source))
}

/// A part says that it is one: whoever does not know parts sends archives under other types.
pub(super) fn check_part_type(headers: &HeaderMap, part_type: &str) -> Result<(), Problem> {
    match headers.get(CONTENT_TYPE) {
        Some(found) if found == part_type => Ok(()),
        _ => Err(wrong_media_type(part_type)),
    }
}

/// The number in a header; `None` if it is not there.
pub(super) fn number_in(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), second) = (values.next(), values.next()) else {
        return Ok(None);
    };
    let digits = value.to_str().unwrap_or_default();
    let is_number = (1..=MAX_DIGITS).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number = digits
        .parse()
        .ok()
        .filter(|_| is_number && second.is_none());
    let number = number.filter(|number| *number <= u64::MAX / 2);
    number.map(Some).ok_or_else(|| {
        invalid_header(
            name,
            "it is one number of bytes, in at most 19 decimal digits",
        )
    })
}

/// 204, and nothing to keep.
pub(super) fn done() -> Response {
    (StatusCode::NO_CONTENT, private_headers()).into_response()
}
