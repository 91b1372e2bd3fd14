//! Room `console`: the private API described by itself (OpenAPI 3.1).

use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "douane private API",
        description = "Deliveries for auditors, the feed for consumers, replays and tokens for operators. \
                       Bearer tokens (`douane token create`); errors are problem+json with a stable `code`."
    ),
    paths(
        super::deliveries::list,
        super::deliveries::show,
        super::deliveries::body,
        super::events::feed,
        super::refusals::list,
        super::dead_letters::list,
        super::journal::list,
        super::journal::note,
        super::replays::request,
        super::tokens::list,
        super::tokens::create,
        super::tokens::revoke,
    )
)]
struct Document;

pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
