//! The HTTP client of the commands.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::Value;
use ureq::Body;
use ureq::http::Response;

use super::CliError;

/// The service's HTTP API.
#[derive(Clone, Debug)]
pub(super) struct Api {
    base: String,
    agent: ureq::Agent,
}

impl Api {
    pub(super) fn new(base: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .build()
            .into();
        Self {
            base: base.trim_end_matches('/').to_owned(),
            agent,
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, CliError> {
        self.json(self.agent.get(self.url(path)).call())
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, CliError> {
        self.json(self.agent.delete(self.url(path)).call())
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.json(self.agent.post(self.url(path)).send_json(body))
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.json(self.agent.patch(self.url(path)).send_json(body))
    }

    /// The lines of a streamed answer, as they arrive.
    pub(super) fn lines(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<impl Iterator<Item = std::io::Result<String>>, CliError> {
        let request = self.agent.get(self.url(path)).header("accept", accept);
        self.lines_of(request.call())
    }

    /// As [`Api::lines`], of a POST without a body.
    pub(super) fn post_for_lines(
        &self,
        path: &str,
    ) -> Result<impl Iterator<Item = std::io::Result<String>> + use<>, CliError> {
        self.lines_of(self.agent.post(self.url(path)).send_empty())
    }

    fn lines_of(
        &self,
        sent: Result<Response<Body>, ureq::Error>,
    ) -> Result<impl Iterator<Item = std::io::Result<String>> + use<>, CliError> {
        let response = self.checked(sent)?;
        Ok(BufReader::new(response.into_body().into_reader()).lines())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn json(&self, sent: Result<Response<Body>, ureq::Error>) -> Result<Value, CliError> {
        let mut response = self.checked(sent)?;
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|e| self.unreachable(&e))?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|e| {
            CliError::local(
                "bad_answer",
                format!("read the answer of {}", self.base),
                e,
                "Is this a Tidemark service?",
            )
        })
    }

    /// The response when its status is a success, else the problem document as an error.
    fn checked(
        &self,
        sent: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, CliError> {
        let mut response = sent.map_err(|e| self.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem: Value = response.body_mut().read_json().unwrap_or_default();
        if problem["code"].is_string() {
            return Err(CliError::problem(&problem));
        }
        let detail = format!("the service answered {status}");
        Err(CliError::Service {
            code: status.as_u16().to_string(),
            detail,
            hint: String::new(),
        })
    }

    fn unreachable(&self, error: &ureq::Error) -> CliError {
        CliError::local(
            "unreachable",
            format!("reach the service at {}", self.base),
            error,
            "Start it with `tidemark serve`, or name its address with --url or TIDEMARK_URL.",
        )
    }
}

/// Percent-encodes one path segment or query value.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_all_but_unreserved_characters() {
        assert_eq!(escaped("a b/ü"), "a%20b%2F%C3%BC");
    }
}
