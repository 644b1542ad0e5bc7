//! One file per resource: request in, response out.

use std::sync::Arc;

use tidemark_topics::{Topic, TopicError};

use crate::{Ctx, Problem};

pub(crate) mod audit;
pub(crate) mod groups;
pub(crate) mod health;
pub(crate) mod produce;
pub(crate) mod read;
pub(crate) mod reset;
pub(crate) mod service;
pub(crate) mod topic;
pub(crate) mod topics;
pub(crate) mod truncate;

/// The topic of that name.
async fn find(ctx: &Ctx, name: &str) -> Result<Arc<Topic>, Problem> {
    if let Some(topic) = ctx.topics().cached(ctx.tenant(), name) {
        return Ok(topic);
    }
    match ctx.topics().lookup(ctx.tenant(), name).await {
        Ok(Some(topic)) => Ok(topic),
        Ok(None) => Err(Problem::of(&TopicError::UnknownName {
            name: name.to_owned(),
        })),
        Err(e) => Err(Problem::of(&e)),
    }
}
