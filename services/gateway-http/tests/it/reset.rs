//! Moving the offsets of a group, and deleting groups.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use tidemark_groups::{JoinRequest, Joined, Leaving, Protocol};

use crate::world::{Answer, START_MS, World, request};

const RESET: &str = "/v1/groups/g/offsets";

impl World {
    async fn reset(&self, to: Value) -> Answer {
        self.reset_of(json!({ "to": to, "topics": [{ "topic": "t" }] }), "")
            .await
    }

    async fn reset_of(&self, body: Value, query: &str) -> Answer {
        let path = format!("{RESET}{query}");
        self.post(&path, "application/json", body.to_string()).await
    }

    /// What is committed of the topic `t`, by partition.
    async fn committed(&self) -> Vec<(i64, i64)> {
        let found = self.get(RESET).await.ok();
        let offsets = found["offsets"].as_array().unwrap().iter();
        let pair = |o: &Value| {
            (
                o["partition"].as_i64().unwrap(),
                o["offset"].as_i64().unwrap(),
            )
        };
        offsets.map(pair).collect()
    }

    async fn delete_group(&self) -> Answer {
        self.call(request(Method::DELETE, "/v1/groups/g", &[], Body::empty()))
            .await
    }

    async fn join(&self) -> Joined {
        let join = JoinRequest {
            group: "g".to_owned(),
            member_id: String::new(),
            instance_id: None,
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout: Duration::from_secs(30),
            rebalance_timeout: Duration::from_secs(30),
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol {
                name: "range".to_owned(),
                metadata: bytes::Bytes::new(),
            }],
            requires_known_member_id: false,
            can_skip_assignment: false,
            reason: None,
        };
        self.groups.join(&self.tenant, join).await.unwrap()
    }
}

/// The topic `t` with ten records in partition 0, one a second, and none in partition 1.
async fn filled() -> World {
    let world = World::with_topic(2).await;
    for n in 0..10 {
        let at = START_MS + n * 1_000;
        let body = format!(r#"{{"records":[{{"value":"v","timestamp":{at}}}]}}"#);
        world.produce("?partition=0", &body).await.ok();
    }
    world
}

#[tokio::test(start_paused = true)]
async fn every_target_goes_where_it_says() {
    let world = filled().await;
    for (to, expected) in [
        (json!("earliest"), (0, 0)),
        (json!("current"), (0, 0)),
        (json!("latest"), (10, 0)),
        (json!({ "offset": 4 }), (4, 0)),
        (json!({ "shift_by": -2 }), (2, 0)),
        (json!({ "shift_by": i64::MIN }), (0, 0)),
        (json!({ "shift_by": 3 }), (3, 0)),
        (json!("current"), (3, 0)),
        (json!({ "timestamp": START_MS + 6_500 }), (7, 0)),
        (json!({ "timestamp": START_MS + 60_000 }), (10, 0)),
        (json!({ "offset": -1 }), (0, 0)),
        (json!({ "offset": i64::MAX }), (10, 0)),
    ] {
        let answer = world.reset(to.clone()).await.ok();
        assert_eq!(answer["applied"], true);
        let moved: Vec<_> = answer["offsets"].as_array().unwrap().iter().collect();
        assert_eq!(moved[0]["new_offset"], expected.0, "{to}");
        assert_eq!(moved[0]["high_watermark"], 10);
        assert_eq!(moved[0]["log_start"], 0);
        assert_eq!(moved[1]["new_offset"], expected.1, "{to}");
        assert_eq!(
            world.committed().await,
            [(0, expected.0), (1, expected.1)],
            "{to}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_changes_nothing_and_tells_what_is_the_nearest() {
    let world = filled().await;
    world.reset(json!({ "offset": 4 })).await.ok();
    let body =
        json!({ "to": { "offset": 99 }, "topics": [{ "topic": "t", "partitions": [0, 0] }] });
    let plan = world.reset_of(body, "?validate_only=true").await.ok();
    assert_eq!(plan["applied"], false);
    assert_eq!(
        plan["offsets"],
        json!([{
            "topic": "t", "partition": 0, "offset": 4, "new_offset": 10, "nearest": true,
            "log_start": 0, "high_watermark": 10,
        }])
    );
    assert_eq!(world.committed().await, [(0, 4), (1, 0)]);
}

#[tokio::test(start_paused = true)]
async fn without_topics_all_that_the_group_has_is_moved() {
    let world = filled().await;
    world
        .reset_of(json!({ "to": "latest" }), "")
        .await
        .problem(404, "group_id_not_found");
    let one = json!({ "to": "latest", "topics": [{ "topic": "t", "partitions": [0] }] });
    world.reset_of(one, "").await.ok();
    let all = world.reset_of(json!({ "to": "earliest" }), "").await.ok();
    assert_eq!(all["offsets"].as_array().unwrap().len(), 1);
    assert_eq!(world.committed().await, [(0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_moved_is_refused_by_name() {
    let world = filled().await;
    let detail = world
        .reset(json!({ "shift_by": 1 }))
        .await
        .problem(400, "invalid_request");
    assert!(detail.contains("t/0"), "{detail}");
    let of = |topics: Value| json!({ "to": "earliest", "topics": topics });
    for topics in [
        json!([{ "topic": "none" }]),
        json!([{ "topic": "t", "partitions": [2] }]),
    ] {
        world
            .reset_of(of(topics), "")
            .await
            .problem(404, "unknown_topic_or_partition");
    }
    for body in [
        json!({}),
        json!({ "to": "yesterday" }),
        json!({ "to": { "offset": "1" } }),
        json!({ "to": "latest", "topic": "t" }),
    ] {
        world
            .reset_of(body, "")
            .await
            .problem(400, "invalid_request");
    }
    assert_eq!(world.committed().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_group_with_members_keeps_its_offsets_and_itself() {
    let world = filled().await;
    world.reset(json!({ "offset": 4 })).await.ok();
    let member = world.join().await;
    let refused = world.reset(json!("earliest")).await;
    let detail = refused.problem(409, "non_empty_group");
    assert!(detail.contains("1 member"), "{detail}");
    let planned = json!({ "to": "earliest" });
    world
        .reset_of(planned, "?validate_only=true")
        .await
        .problem(409, "non_empty_group");
    world.delete_group().await.problem(409, "non_empty_group");
    assert_eq!(world.committed().await, [(0, 4), (1, 0)]);
    let leave = Leaving {
        member_id: member.member_id,
        instance_id: None,
        reason: None,
    };
    world
        .groups
        .leave(&world.tenant, "g", vec![leave])
        .await
        .unwrap();
    world.reset(json!("earliest")).await.ok();
    assert_eq!(world.delete_group().await.status.as_u16(), 204);
    assert_eq!(world.committed().await, []);
    world
        .delete_group()
        .await
        .problem(404, "group_id_not_found");
}
