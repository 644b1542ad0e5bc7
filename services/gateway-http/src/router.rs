//! All routes, and the description of the API that follows from them.

use axum::{Router, middleware};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::front::{admit, front, method_not_allowed, not_found};
use crate::{Ctx, handlers};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidemark",
        description = "The HTTP side of the log: the same topics, offsets and groups as on the Kafka side. \
            Errors are application/problem+json (RFC 9457) with the codes of api/errors.toml.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "topics", description = "Topics and their configuration"),
        (name = "records", description = "Producing and reading"),
        (name = "groups", description = "Consumer groups and their committed offsets"),
        (name = "service", description = "The state of the service")
    )
)]
struct Described;

/// Routes that hold a place among the requests in work.
fn bounded() -> OpenApiRouter<Ctx> {
    use handlers::{audit, groups, produce, read, reset, topic, topics, truncate};
    OpenApiRouter::new()
        .routes(routes!(topics::list, topics::create))
        .routes(routes!(topic::describe, topic::delete, topic::patch))
        .routes(routes!(produce::produce))
        .routes(routes!(read::read, truncate::delete_records))
        .routes(routes!(groups::list))
        .routes(routes!(groups::describe, groups::delete))
        .routes(routes!(groups::offsets, reset::reset))
        .routes(routes!(audit::audit))
        .routes(routes!(audit::extents))
}

/// Routes that must answer when all else is busy.
fn unbounded() -> OpenApiRouter<Ctx> {
    use handlers::{health, service};
    OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(service::index))
        .routes(routes!(service::metrics))
        .routes(routes!(service::status))
        .routes(routes!(service::openapi))
}

/// The API's description, OpenAPI 3.1; `api/openapi.json` is this, pretty-printed.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    OpenApiRouter::with_openapi(Described::openapi())
        .merge(bounded())
        .merge(unbounded())
        .into_openapi()
}

/// The service behind the listener.
pub fn router(ctx: Ctx) -> Router {
    let bounded =
        Router::from(bounded()).route_layer(middleware::from_fn_with_state(ctx.clone(), admit));
    bounded
        .merge(Router::from(unbounded()))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(ctx.front(), front))
        .with_state(ctx)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let api = serde_json::to_value(super::openapi()).expect("a description serialises");
        let paths = api["paths"].as_object().expect("paths by name");
        let operations = paths.values().flat_map(|p| p.as_object().expect("methods"));
        let mut seen = std::collections::BTreeSet::new();
        for (_, operation) in operations {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(seen.insert(id.to_owned()), "{id} is there twice");
        }
    }

    #[test]
    fn description_in_api_equals_the_code() {
        let mut rendered = super::openapi()
            .to_pretty_json()
            .expect("a description serialises");
        rendered.push('\n');
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/openapi.json");
        if std::env::var_os("TIDEMARK_WRITE").is_some() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a test that rewrites its fixture"
            )]
            std::fs::write(path, &rendered).expect("api/openapi.json is writable");
        }
        let found = std::fs::read_to_string(path).expect("api/openapi.json is in the tree");
        assert!(
            found == rendered,
            "run the test with TIDEMARK_WRITE=1 to rewrite api/openapi.json"
        );
    }
}
