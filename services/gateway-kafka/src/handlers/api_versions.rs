//! ApiVersions (KIP-35, KIP-511): what is served, straight from the handlers' table.

use tidemark_types::ErrorCode;
use tidemark_wire::messages::{ApiVersion, ApiVersionsRequestData, ApiVersionsResponseData};
use tidemark_wire::{ApiKey, Encoded, WireError, encode_response};

use super::TABLE;
use crate::Ctx;
use crate::handler::{Call, Handler};

pub(super) struct ApiVersions;

impl Handler for ApiVersions {
    type Request = ApiVersionsRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 4;
    const NOTES: &'static str = "An unknown version is answered at version 0 with UNSUPPORTED_VERSION and the versions of this API alone (KIP-511). \
         No finalized features.";

    async fn handle(
        _: &Ctx,
        call: &Call,
        request: ApiVersionsRequestData,
    ) -> ApiVersionsResponseData {
        let named = call.version < 3
            || (is_software_name(request.client_software_name.as_str())
                && is_software_name(request.client_software_version.as_str()));
        if named {
            return all();
        }
        ApiVersionsResponseData {
            error_code: ErrorCode::InvalidRequest.kafka(),
            ..Default::default()
        }
    }
}

/// The answer to a version that is not served: version 0, so that any client can read it, and this API's range, which
/// is all that the client needs to ask again.
pub(crate) fn unsupported_version(correlation_id: i32) -> Result<Encoded, WireError> {
    let mut answer = ApiVersionsResponseData {
        error_code: ErrorCode::UnsupportedVersion.kafka(),
        ..all()
    };
    let own = ApiKey::ApiVersions as i16;
    answer.api_keys.retain(|api| api.api_key == own);
    encode_response(&answer, 0, correlation_id)
}

fn all() -> ApiVersionsResponseData {
    let api_keys = TABLE.iter().map(|e| ApiVersion {
        api_key: e.key as i16,
        min_version: e.min,
        max_version: e.max,
        ..Default::default()
    });
    ApiVersionsResponseData {
        api_keys: api_keys.collect(),
        ..Default::default()
    }
}

/// KIP-511: letters and digits, with `.` and `-` between them.
fn is_software_name(s: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'-';
    let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let raw = s.as_bytes();
    raw.iter().all(|c| inner(*c)) && edge(raw.first()) && edge(raw.last())
}

#[cfg(test)]
mod tests {
    use tidemark_wire::KafkaString;

    use super::*;
    use crate::testing;

    fn request() -> ApiVersionsRequestData {
        ApiVersionsRequestData {
            client_software_name: KafkaString::from_static("librdkafka"),
            client_software_version: KafkaString::from_static("2.6.0-RC1"),
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_lists_the_table() {
        let ctx = testing::ctx().await;
        for version in 0..=4 {
            let answer = testing::call(&ctx, &request(), version).await;
            assert_eq!(answer.error_code, 0);
            assert_eq!(answer.api_keys.len(), TABLE.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_without_a_proper_name_is_refused_from_version_3_on() {
        let ctx = testing::ctx().await;
        for bad in ["", "-x", "x.", "a b", "ü"] {
            let mut request = request();
            request.client_software_name = KafkaString::from(bad.to_owned());
            assert_eq!(testing::call(&ctx, &request, 3).await.error_code, 42);
        }
        let nameless = ApiVersionsRequestData::default();
        assert_eq!(testing::call(&ctx, &nameless, 2).await.error_code, 0);
    }
}
