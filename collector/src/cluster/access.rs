//! Whether somebody may see something: what is asked of the API server, and what its answer means. Pure.
//!
//! The resources are only names that rules of RBAC can be written for; no API serves them.

use std::fmt;

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
    SubjectAccessReviewStatus,
};

use super::token::User;

/// API group of [`Resource`].
pub const GROUP: &str = "plimsoll.dev";
/// The verb of what is read as any other object is: nothing here can be changed.
const GET: &str = "get";

/// What rights are given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Workloads with their usage and what is advised; the fleet's nodes.
    Sizing,
    /// Audit events, and what became of every record.
    Audit,
}

impl Resource {
    /// Its name in rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sizing => "sizing",
            Self::Audit => "audit",
        }
    }

    /// What rules have to allow. That of audit data is its own, so that a role which may `get`, `list` and `watch`
    /// everything does not show who fetched which credentials.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Sizing => GET,
            Self::Audit => "read",
        }
    }
}

impl fmt::Display for Resource {
    /// Verb and name, as `kubectl auth can-i` takes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{GROUP}", self.verb(), self.as_str())
    }
}

/// A right that somebody may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// To a resource in this namespace; in all of them and outside of any without.
    Of(Resource, Option<String>),
    /// To an address that is no resource.
    Path(&'static str),
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(resource, None) => write!(f, "{resource} in all namespaces"),
            Self::Of(resource, Some(namespace)) => {
                write!(f, "{resource} in namespace {namespace}")
            }
            Self::Path(path) => write!(f, "{GET} {path}"),
        }
    }
}

/// The API server's decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It may be seen.
    pub allowed: bool,
    /// Why, in the API server's words; empty where it says nothing.
    pub why: String,
}

/// The question.
pub fn prepare(user: &User, right: &Right) -> SubjectAccessReview {
    let mut spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: user.uid.clone(),
        groups: Some(user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
        ..SubjectAccessReviewSpec::default()
    };
    match right {
        Right::Of(resource, namespace) => {
            spec.resource_attributes = Some(ResourceAttributes {
                verb: Some(resource.verb().to_owned()),
                group: Some(GROUP.to_owned()),
                resource: Some(resource.as_str().to_owned()),
                namespace: namespace.clone(),
                ..ResourceAttributes::default()
            });
        }
        Right::Path(path) => {
            spec.non_resource_attributes = Some(NonResourceAttributes {
                verb: Some(GET.to_owned()),
                path: Some((*path).to_owned()),
            });
        }
    }
    SubjectAccessReview {
        spec,
        ..SubjectAccessReview::default()
    }
}

/// The decision: only a plain yes is one. An error beside it says that some rule could not be looked at;
/// what the others gave holds.
pub fn interpret(answer: &SubjectAccessReviewStatus) -> Verdict {
    let error = answer.evaluation_error.as_deref().unwrap_or_default();
    let reason = answer.reason.as_deref().unwrap_or_default();
    let words = [reason, error].into_iter().filter(|text| !text.is_empty());
    Verdict {
        allowed: answer.allowed && answer.denied != Some(true),
        why: words.collect::<Vec<_>>().join("; "),
    }
}

#[cfg(test)]
mod tests;
