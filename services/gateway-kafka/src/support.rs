//! What is served, for readers outside the code: `api/kafka-support.toml`, kept equal to the table by a test.

use crate::handlers::TABLE;

/// An API that is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServedApi {
    /// Kafka's key of it.
    pub key: i16,
    /// Kafka's name of it.
    pub name: &'static str,
    /// Lowest version advertised.
    pub min: i16,
    /// Highest version advertised.
    pub max: i16,
    /// What differs from Kafka.
    pub notes: &'static str,
}

/// Every API served, ascending by key.
pub fn served_apis() -> impl Iterator<Item = ServedApi> {
    TABLE.iter().map(|e| ServedApi {
        key: e.key as i16,
        name: e.name,
        min: e.min,
        max: e.max,
        notes: e.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered() -> String {
        let mut out = String::from(
            "# The Kafka APIs served, as ApiVersions advertises them. Written from services/gateway-kafka/src/handlers/;\n\
             # a test keeps the two equal (TIDEMARK_WRITE=1 rewrites this file). Versions are inclusive.\n",
        );
        for api in served_apis() {
            out += &format!(
                "\n[[api]]\nkey = {}\nname = {:?}\nversions = [{}, {}]\n",
                api.key, api.name, api.min, api.max
            );
            if !api.notes.is_empty() {
                out += &format!("notes = {:?}\n", api.notes);
            }
        }
        out
    }

    #[test]
    fn document_in_api_equals_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/kafka-support.toml");
        if std::env::var_os("TIDEMARK_WRITE").is_some() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a test that rewrites its fixture"
            )]
            std::fs::write(path, rendered()).expect("api/kafka-support.toml is writable");
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(
            found,
            rendered(),
            "run this test with TIDEMARK_WRITE=1 to rewrite api/kafka-support.toml"
        );
    }
}
