//! What pods may do with the Kubernetes API: write the status of the one resource that they work for, and nothing else.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject as Grantee};

use super::Subject;
use crate::api::GROUP;

const RBAC: &str = "rbac.authorization.k8s.io";

/// The service account of the pods of a resource, and its one right.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Who the pods are.
    pub service_account: ServiceAccount,
    /// What they may do.
    pub role: Role,
    /// That they may.
    pub role_binding: RoleBinding,
}

/// Builds them.
pub(super) fn access(subject: &Subject<'_>) -> Access {
    let name = subject.service_account();
    let rule = PolicyRule {
        api_groups: Some(vec![GROUP.to_owned()]),
        resources: Some(vec![format!("{}s/status", subject.kind.to_lowercase())]),
        resource_names: Some(vec![subject.name.to_owned()]),
        verbs: vec!["patch".to_owned()],
        ..PolicyRule::default()
    };
    let grantee = Grantee {
        kind: "ServiceAccount".to_owned(),
        name: name.clone(),
        namespace: Some(subject.namespace.to_owned()),
        api_group: None,
    };
    Access {
        service_account: service_account(subject),
        role: Role { metadata: subject.metadata(subject.part), rules: Some(vec![rule]) },
        role_binding: RoleBinding {
            metadata: subject.metadata(subject.part),
            role_ref: RoleRef { api_group: RBAC.to_owned(), kind: "Role".to_owned(), name },
            subjects: Some(vec![grantee]),
        },
    }
}

/// Its token is mounted only by pods that say so.
pub(super) fn service_account(subject: &Subject<'_>) -> ServiceAccount {
    let mut metadata = subject.metadata(subject.part);
    let given = subject.template.and_then(|template| template.service_account.as_ref()?.metadata.clone());
    if let Some(given) = given {
        let mut labels = given.labels.unwrap_or_default();
        labels.extend(metadata.labels.unwrap_or_default());
        metadata.labels = Some(labels);
        metadata.annotations = given.annotations;
    }
    ServiceAccount { metadata, automount_service_account_token: Some(false), ..ServiceAccount::default() }
}
