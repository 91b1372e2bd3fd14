//! Room `console`: the private API described by itself (OpenAPI 3.1).

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "douane private API",
        description = "Deliveries for auditors, the feed for consumers, replays and tokens for operators. \
                       Bearer tokens (`douane token create`); errors are problem+json with a stable `code`."
    ),
    modifiers(&Bearer),
    security(("bearer" = [])),
    paths(
        super::health::live,
        super::health::ready,
        super::health::metrics,
        document,
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

/// Says how a token is sent.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", security(()), responses((status = 200, body = Object)))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
