//! Room `console`: the private API described by itself (OpenAPI 3.1).

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, PathItem, Ref, RefOr, Response, ResponseBuilder,
        path::{Operation, Parameter, ParameterIn},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "douane private API",
        description = "Deliveries for auditors, the feed for consumers, replays and tokens for operators. \
                       Bearer tokens (`douane token create`); errors are problem+json with a stable `code`."
    ),
    modifiers(&Bearer, &Problems),
    components(schemas(Problem)),
    security(("bearer" = [])),
    paths(
        super::health::live,
        super::health::ready,
        super::health::metrics,
        document,
        super::deliveries::list,
        super::deliveries::show,
        super::deliveries::body,
        super::publications::list,
        super::events::feed,
        super::refusals::list,
        super::dead_letters::list,
        super::armings::list,
        super::armings::arm,
        super::reveals::reveal,
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

/// Says how things go wrong: alike at every address, so it stands here once.
struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            add_common_problems(operation);
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response {
                    describe_problem(status, response);
                }
            }
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post, &mut path.delete].into_iter().filter_map(Option::as_mut)
}

/// What every address that needs a token may answer, and what everything that is told something may.
fn add_common_problems(operation: &mut Operation) {
    if operation.security.is_some() {
        return;
    }
    let takes_anything = operation.request_body.is_some()
        || operation.parameters.iter().flatten().any(is_asked_beside_the_path);
    let common = [
        ("400", "The request cannot be understood.", takes_anything),
        ("401", "There is no token, or it is unknown or revoked.", true),
        ("403", "The token's role does not allow this.", true),
        ("503", "The ledger cannot answer now.", true),
    ];
    for (status, description, _) in common.into_iter().filter(|(.., applies)| *applies) {
        let response = ResponseBuilder::new().description(description).build();
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
    }
}

fn is_asked_beside_the_path(parameter: &RefOr<Parameter>) -> bool {
    matches!(parameter, RefOr::T(parameter) if parameter.parameter_in != ParameterIn::Path)
}

/// A failure without a body of its own is a problem.
fn describe_problem(status: &str, response: &mut Response) {
    if status.starts_with(['4', '5']) && response.content.is_empty() {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        response.content.insert("application/problem+json".to_owned(), problem.into());
    }
}

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "describe", tag = "description",
    security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = Object)))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
