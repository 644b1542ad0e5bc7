//! The tenant context that every metadata and log call requires.

use crate::TenantId;

/// A resolved tenant. It can only be made where a credential (or the lack of configured auth) was
/// checked, and every call that touches a tenant's data takes one: a key cannot be built without it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tenant {
    id: TenantId,
}

impl Tenant {
    /// The one tenant of a service that has no auth configured. Such a service binds loopback only.
    #[must_use]
    pub const fn default_without_auth() -> Self {
        Self { id: TenantId(0) }
    }

    /// A tenant whose rows the service found in its own storage: for its work on them that no request asks for, such as
    /// letting offsets expire. Never for what a client names.
    #[must_use]
    pub const fn found_in_storage(id: TenantId) -> Self {
        Self { id }
    }

    /// The tenant's id, for building keys and labels.
    #[must_use]
    pub const fn id(&self) -> TenantId {
        self.id
    }
}
