//! Settings: plain values from defaults, a TOML file, the environment and flags, in that order.
//!
//! One table ([`settings!`](macro@settings) below) makes the types, their defaults, the environment variables, the
//! flags and the reference that `tidemark config --reference` prints; nothing is listed twice.

mod layers;
mod ranges;
mod values;

pub use layers::{ConfigError, Loaded, SettingDoc, Source, load};
pub use values::{ByteCount, Span};

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tidemark_telemetry::LogFormat;

/// Which metadata engine the service runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetaEngine {
    /// In the data folder, for one process.
    Embedded,
    /// A FoundationDB cluster.
    FoundationDb,
}

/// Which object store the log's older part goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobEngine {
    /// A local folder, for one process.
    Fs,
    /// A bucket of S3, or of what speaks its protocol.
    S3,
}

/// Makes a section struct per group with serde and defaults, and one documented row per setting.
macro_rules! settings {
    ($($(#[doc = $section_doc:literal])* $section:ident: $ty:ident {
        $($(#[doc = $doc:literal])* $key:ident: $vty:ty = $default:expr;)*
    })*) => {
        $(
            $(#[doc = $section_doc])*
            #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
            #[serde(default)]
            pub struct $ty { $($(#[doc = $doc])* pub $key: $vty,)* }

            impl Default for $ty {
                fn default() -> Self {
                    Self { $($key: $default,)* }
                }
            }
        )*

        /// Every setting of the process.
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Settings { $($(#[doc = $section_doc])* pub $section: $ty,)* }

        /// Every setting with its documentation, in the reference's order.
        pub const SETTINGS: &[SettingDoc] = &[
            $($(SettingDoc {
                section: stringify!($section),
                key: stringify!($key),
                doc: &[$($doc),*],
            },)*)*
        ];
    };
}

settings! {
    /// The process itself.
    node: NodeSettings {
        /// Folder for everything the service keeps: metadata, the write-ahead log, the lock.
        data_dir: PathBuf = PathBuf::from("tidemark-data");
        /// How long a drain may take after SIGTERM before the process exits anyway.
        drain: Span = Span::from_secs(20);
    }
    /// The metadata store.
    meta: MetaSettings {
        /// `embedded` keeps it in the data folder; `foundationdb` needs a binary built with that feature.
        engine: MetaEngine = MetaEngine::Embedded;
        /// FoundationDB's cluster file; empty means the client library's default place.
        cluster_file: PathBuf = PathBuf::new();
    }
    /// The object store.
    blob: BlobSettings {
        /// `fs` keeps objects in a local folder; `s3` in a bucket, and needs a binary built with that feature.
        engine: BlobEngine = BlobEngine::Fs;
        /// Folder of `fs`; empty means `objects` in the data folder.
        path: PathBuf = PathBuf::new();
        /// Bucket of `s3`. Credentials are found as AWS's tools do: environment, profile, container, instance.
        s3_bucket: String = String::new();
        /// Region of the bucket; empty means that of the environment or profile.
        s3_region: String = String::new();
        /// URL of a server that speaks S3; empty means AWS.
        s3_endpoint: String = String::new();
        /// All objects lie under this prefix of the bucket; empty means the whole bucket is the service's.
        s3_prefix: String = String::new();
        /// Whether the bucket goes into the path of a URL in place of the host name, as most servers but AWS want it.
        s3_path_style: bool = false;
    }
    /// The Kafka protocol's listener.
    kafka: KafkaSettings {
        /// Address to listen on. Without configured auth it must be a loopback address.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9092));
        /// Host name that clients are told to connect to; empty means the listen address.
        advertised_host: String = String::new();
        /// Port that clients are told to connect to; 0 means the port that is listened on.
        advertised_port: u16 = 0;
        /// Connections at the most. Then the oldest that never sent a request makes room; without one, more are closed at once.
        connections_max: usize = 20_000;
        /// Memory for requests being read or served, over all connections; at least the largest request, 100 MiB.
        request_memory: ByteCount = ByteCount::mib(256);
        /// A connection that sends nothing for this long is closed.
        idle_timeout: Span = Span::from_secs(600);
    }
    /// The HTTP listener.
    http: HttpSettings {
        /// Address to listen on. Without configured auth it must be a loopback address.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080));
        /// Connections at the most. Then the oldest that never sent a request makes room; without one, more wait in the system's queue.
        connections_max: usize = 12_000;
        /// Largest request body that is held in memory.
        body_bytes_max: ByteCount = ByteCount::mib(16);
    }
    /// Topics that clients create.
    topics: TopicSettings {
        /// Whether a Kafka client's metadata request, or a produce over HTTP, creates a topic it names.
        auto_create: bool = true;
        /// Partitions of a topic that was created without a count.
        partitions: i32 = 1;
    }
    /// The log.
    log: LogSettings {
        /// Shards of a new service; fixed once the service has data.
        shards: u32 = tidemark_types::limits::SHARDS_DEFAULT;
        /// Memory for recent batches, shared by all partitions.
        tail_cache: ByteCount = ByteCount::mib(32);
        /// An extent rolls at this size.
        roll_size: ByteCount = ByteCount(tidemark_types::limits::EXTENT_ROLL_BYTES);
        /// An extent that has data rolls at this age.
        roll_age: Span = Span::from_millis(tidemark_types::limits::EXTENT_ROLL_MS);
    }
    /// The write-ahead log on the local disk.
    wal: WalSettings {
        /// Size of one segment file, 1 MiB to 4 GiB.
        segment_size: ByteCount = ByteCount::mib(64);
        /// Disk space the write-ahead log may take, at least four segments. When it is used up, appends are refused with a retriable error; what restarts and fences then still need, three more segments at most, is given back.
        disk_budget: ByteCount = ByteCount::gib(64);
    }
    /// The log's older part, which moves to the object store.
    cold: ColdSettings {
        /// Whether it does; without it the log is as large as the write-ahead log may be.
        enabled: bool = true;
        /// An object closes at this size, or within 1 MiB above it. Up to 16 MiB with its index it is one request to S3, larger ones go in parts.
        object_size: ByteCount = ByteCount::mib(14);
        /// Memory of objects on their way to the store, all shards together: with more of it more of them are put at once, and one at the least.
        upload_memory: ByteCount = ByteCount::mib(32);
        /// Memory for parts of objects that were read.
        read_cache: ByteCount = ByteCount::mib(64);
        /// A partition's own object, which compaction makes of those of all partitions, closes at this size.
        segment_size: ByteCount = ByteCount::mib(64);
        /// How often compaction is looked at; while the log is busy with producers and readers it waits up to five minutes more.
        compaction_period: Span = Span::from_secs(15);
        /// Memory of a run of compaction for keys and for bytes on their way; its object comes on top. One run at a time.
        compaction_memory: ByteCount = ByteCount::mib(128);
        /// A run rewrites at least this much per partition on average, and `cleanup.policy=compact` waits for as much that is new, an hour at the most (and no longer than a busy log lets it, see `compaction_period`): what bounds the requests per byte.
        compaction_least: ByteCount = ByteCount::mib(1);
        /// How often retention is applied.
        retention_period: Span = Span::from_secs(60);
        /// How long an object that is no longer part of the log is kept: readers may be in the middle of it.
        grace: Span = Span::from_secs(600);
        /// How often the objects of a shard are listed, to find and delete what nothing names; `0s` means never.
        reconcile_period: Span = Span::from_secs(7 * 24 * 3600);
    }
    /// Consumer groups.
    groups: GroupSettings {
        /// How long the first rebalance of an empty group waits for more members.
        initial_rebalance_delay: Span = Span::from_secs(3);
        /// Members of one group at the most.
        max_size: usize = 10_000;
        /// Smallest session timeout a member may ask for.
        session_timeout_min: Span = Span::from_secs(6);
        /// Largest session timeout a member may ask for.
        session_timeout_max: Span = Span::from_secs(1800);
        /// Offsets of a group that has been empty for this long expire.
        offsets_retention: Span = Span::from_secs(7 * 24 * 3600);
    }
    /// Logs of the process.
    log_output: LogOutputSettings {
        /// What is logged: `info`, or directives such as `warn,tidemark_log=debug`.
        filter: String = String::from("info,opentelemetry=warn");
        /// `text` for people, `json` for collectors.
        format: LogFormat = LogFormat::Text;
    }
}

#[cfg(test)]
mod tests;
