//! Requests to S3 as it bills them.

use opentelemetry::metrics::Counter;
use opentelemetry::{KeyValue, global};

/// A request's name, as in metrics.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Put,
    CreateUpload,
    UploadPart,
    CompleteUpload,
    AbortUpload,
    Get,
    Head,
    Delete,
    List,
}

/// The counter.
#[derive(Clone)]
pub(super) struct Calls(Counter<u64>);

impl Calls {
    pub(super) fn new() -> Self {
        let meter = global::meter("tidemark");
        let counter = meter.u64_counter("tidemark.blob.s3.calls");
        let about = "HTTP requests to S3 by what it bills them as";
        Self(counter.with_description(about).build())
    }

    pub(super) fn count(&self, call: Call) {
        let name = match call {
            Call::Put => "put",
            Call::CreateUpload => "create_upload",
            Call::UploadPart => "upload_part",
            Call::CompleteUpload => "complete_upload",
            Call::AbortUpload => "abort_upload",
            Call::Get => "get",
            Call::Head => "head",
            Call::Delete => "delete",
            Call::List => "list",
        };
        self.0.add(1, &[KeyValue::new("call", name)]);
    }
}
