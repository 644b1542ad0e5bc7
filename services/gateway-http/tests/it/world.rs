//! A service in memory, and a client that calls its router.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use tidemark_blob::BlobStore;
use tidemark_gateway_http::{Ctx, HttpConfig, Info, router};
use tidemark_groups::{Groups, GroupsConfig, Owners, Standing};
use tidemark_journal::Nodes;
use tidemark_journal::memory::MemoryReplica;
use tidemark_lease::{LeaseConfig, Leases};
use tidemark_log::{Log, LogConfig, TierConfig};
use tidemark_meta::MetaStore;
use tidemark_meta::sim::Sim;
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_topics::Topics;
use tidemark_types::{NodeId, Tenant};
use tower::ServiceExt;

const SHARDS: u32 = 2;
/// Wall time at the start of every test.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// A service. Shards come up in the background.
pub(crate) struct World {
    pub(crate) ctx: Ctx,
    pub(crate) router: Router,
    pub(crate) groups: Groups,
    pub(crate) topics: Topics,
    pub(crate) tasks: Tasks,
    pub(crate) tenant: Tenant,
    pub(crate) clock: Clock,
    objects: Option<Arc<dyn BlobStore>>,
}

impl World {
    /// A service with the default settings that serves all its shards.
    pub(crate) async fn ready() -> Self {
        let world = Self::start(HttpConfig::default()).await;
        world.until_ready().await;
        world
    }

    pub(crate) async fn until_ready(&self) {
        for _ in 0..1000 {
            if self.get("/readyz").await.status == StatusCode::OK {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not ready: {}", self.get("/readyz").await.text());
    }

    /// A ready service that has the topic `t` with that many partitions.
    pub(crate) async fn with_topic(partitions: i32) -> Self {
        let world = Self::ready().await;
        let body = format!(r#"{{"name":"t","partitions":{partitions}}}"#);
        let created = world.post("/v1/topics", "application/json", body).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
        world
    }

    pub(crate) async fn start(config: HttpConfig) -> Self {
        Self::start_with(config, |_| None).await
    }

    /// With an object store, perhaps.
    pub(crate) async fn start_with(
        config: HttpConfig,
        cold: impl FnOnce(&Clock) -> Option<(Arc<dyn BlobStore>, TierConfig)>,
    ) -> Self {
        let clock = Clock::simulated(START_MS);
        let cold = cold(&clock);
        let objects = cold.as_ref().map(|(objects, _)| Arc::clone(objects));
        let entropy = Entropy::seeded(1);
        let tasks = Tasks::new();
        let tenant = Tenant::default_without_auth();
        let store: Arc<dyn MetaStore> = Arc::new(Sim::new(&clock));
        let nodes = Nodes::new();
        let replica = MemoryReplica::new(NodeId(101), clock.clone(), entropy.clone());
        nodes.insert(Arc::new(replica));
        let node = NodeId(1);
        let incarnation = Leases::register(store.as_ref(), &clock, &entropy, node)
            .await
            .unwrap();
        let leases = Leases::new(
            Arc::clone(&store),
            nodes,
            clock.clone(),
            entropy.clone(),
            tasks.clone(),
            (node, incarnation),
            LeaseConfig::embedded(),
        );
        leases.start_heartbeat();
        let topics = Topics::new(Arc::clone(&store), clock.clone(), entropy.clone(), SHARDS);
        let log = Log::start_tiered(
            LogConfig {
                shards: SHARDS,
                ..LogConfig::default()
            },
            leases,
            topics.clone(),
            Arc::clone(&store),
            cold,
            clock.clone(),
            entropy.clone(),
            &tasks,
        );
        let (of, standing) = (log.clone(), log.clone());
        let owners = Owners::new(
            move |tenant, group| of.shard_of_group(tenant, group),
            move |shard| match standing.ownership(shard) {
                Some(ownership) => Standing::Serving(ownership),
                None => Standing::Recovering,
            },
        );
        let groups = Groups::new(
            owners,
            store,
            topics.clone(),
            GroupsConfig::default(),
            clock.clone(),
            entropy.clone(),
            &tasks,
        );
        let info = Info {
            version: "1.2.3".to_owned(),
            cluster_id: "cluster".to_owned(),
            node,
        };
        let ctx = Ctx::new(
            tenant,
            topics.clone(),
            log,
            groups.clone(),
            clock.clone(),
            entropy,
            info,
            Arc::new(|| Ok("tidemark_up 1\n".to_owned())),
            config,
        );
        Self {
            router: router(ctx.clone()),
            ctx,
            groups,
            topics,
            tasks,
            tenant,
            clock,
            objects,
        }
    }

    pub(crate) fn objects(&self) -> &dyn BlobStore {
        self.objects.as_deref().expect("it has an object store")
    }

    /// Sends a request and gives the head of the answer at once, its body as it comes.
    pub(crate) async fn open(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.open(request).await.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(request(Method::GET, path, &[], Body::empty()))
            .await
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        let headers = [("accept", accept)];
        self.call(request(Method::GET, path, &headers, Body::empty()))
            .await
    }

    pub(crate) async fn post(&self, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
        let headers = [("content-type", kind)];
        self.call(request(Method::POST, path, &headers, body.into()))
            .await
    }

    /// Produces JSON to the topic `t`.
    pub(crate) async fn produce(&self, query: &str, body: &str) -> Answer {
        let path = format!("/v1/topics/t/records{query}");
        self.post(&path, "application/json", body.to_owned()).await
    }
}

pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body of a successful answer.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
        self.json()
    }

    /// Its lines as JSON; empty ones are skipped.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
        let lines = self.text().lines().filter(|l| !l.is_empty());
        lines.map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// Checks that it is a whole problem document with that status and code, and gives its detail.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let p = self.json();
        assert_eq!(p["code"], code, "{p}");
        assert_eq!(p["status"], status);
        assert_eq!(p["type"], format!("urn:tidemark:error:{code}"));
        assert_eq!(p["request_id"], self.header("x-request-id"));
        for member in ["title", "hint"] {
            assert!(p[member].as_str().is_some_and(|t| !t.is_empty()), "{p}");
        }
        p["detail"].as_str().unwrap().to_owned()
    }
}
