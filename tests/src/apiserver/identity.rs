//! Who asks, and what they may: bearer tokens, the users behind them, and the rules that the
//! server itself and its access reviews go by.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Tokens for the API server itself have this audience.
pub const API_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// A user as TokenReview tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:NAMESPACE:NAME`, or whatever a person is called.
    pub name: String,
    /// Of the service account; empty for those who have none.
    pub uid: String,
    /// All of them, `system:authenticated` too.
    pub groups: Vec<String>,
    /// `authentication.kubernetes.io/pod-name` and the like.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A service account with the groups and the credential's id that each has.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: "a5ea9f1f-387d-4651-a300-19cf47220b2e".to_owned(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            extra: [(
                "authentication.kubernetes.io/credential-id".to_owned(),
                vec!["JTI=78531461-19d4-4ac2-b4eb-03275a336866".to_owned()],
            )]
            .into(),
        }
    }

    /// A person of these groups.
    pub fn person(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().chain(&["system:authenticated"]);
        Self {
            name: name.to_owned(),
            groups: groups.map(|group| (*group).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Whose token is bound to this node.
    #[must_use]
    pub fn on_node(self, name: &str, uid: &str) -> Self {
        self.bound("node", name, uid)
    }

    /// Whose token is bound to this Pod.
    #[must_use]
    pub fn in_pod(self, name: &str, uid: &str) -> Self {
        self.bound("pod", name, uid)
    }

    fn bound(mut self, to: &str, name: &str, uid: &str) -> Self {
        for (what, value) in [("name", name), ("uid", uid)] {
            let key = format!("authentication.kubernetes.io/{to}-{what}");
            self.extra.insert(key, vec![value.to_owned()]);
        }
        self
    }

    /// The one without credentials.
    pub(super) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    /// As TokenReview and SelfSubjectReview tell it.
    pub(super) fn to_value(&self) -> Value {
        let mut user = Map::new();
        user.insert("username".to_owned(), self.name.as_str().into());
        if !self.uid.is_empty() {
            user.insert("uid".to_owned(), self.uid.as_str().into());
        }
        if !self.groups.is_empty() {
            user.insert("groups".to_owned(), json!(self.groups));
        }
        if !self.extra.is_empty() {
            user.insert("extra".to_owned(), json!(self.extra));
        }
        Value::Object(user)
    }
}

/// What a token is to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// Good for these audiences.
    Valid {
        /// Who shows it.
        user: User,
        /// What it was made for.
        audiences: Vec<String>,
    },
    /// Not good, and why: `service account token has expired`.
    Refused(String),
}

impl Token {
    /// A token of `user` for one audience.
    pub fn valid(user: User, audience: &str) -> Self {
        Self::Valid {
            user,
            audiences: vec![audience.to_owned()],
        }
    }

    /// One that was good once.
    pub fn expired() -> Self {
        Self::Refused("service account token has expired".to_owned())
    }

    /// One whose Pod is gone.
    pub fn invalidated() -> Self {
        Self::Refused("service account token has been invalidated".to_owned())
    }
}

/// The user of a token for one of `audiences` with those of them that it has; or the error that a
/// TokenReview tells.
pub(super) fn authenticate(
    tokens: &BTreeMap<String, Token>,
    token: &str,
    audiences: &[String],
) -> Result<(User, Vec<String>), String> {
    match tokens.get(token) {
        None => Err("invalid bearer token".to_owned()),
        Some(Token::Refused(why)) => Err(format!("[invalid bearer token, {why}]")),
        Some(Token::Valid {
            user,
            audiences: of,
        }) => {
            let both: Vec<_> = audiences
                .iter()
                .filter(|a| of.contains(a))
                .cloned()
                .collect();
            if both.is_empty() {
                let (of, target) = (listed(of), listed(audiences));
                return Err(format!(
                    "[invalid bearer token, token audiences {of} is invalid for the target \
                     audiences {target}]"
                ));
            }
            Ok((user.clone(), both))
        }
    }
}

/// As Go prints a list with %q.
fn listed(audiences: &[String]) -> String {
    let quoted: Vec<_> = audiences.iter().map(|a| format!("\"{a}\"")).collect();
    format!("[{}]", quoted.join(" "))
}

/// What somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) verb: String,
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) subresource: String,
    /// `None` or empty: in all of them.
    pub(super) namespace: Option<String>,
    /// Instead of a resource.
    pub(super) path: Option<String>,
}

/// A right that SubjectAccessReview knows of. `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    subject: String,
    is_group: bool,
    verb: String,
    group: String,
    resource: String,
    namespace: Option<String>,
    path: Option<String>,
    reason: Option<String>,
}

impl Rule {
    fn new(subject: &str, is_group: bool) -> Self {
        Self {
            subject: subject.to_owned(),
            is_group,
            verb: "*".to_owned(),
            group: "*".to_owned(),
            resource: "*".to_owned(),
            namespace: None,
            path: None,
            reason: None,
        }
    }

    /// For a user, everything everywhere until it is narrowed.
    pub fn user(name: &str) -> Self {
        Self::new(name, false)
    }

    /// For a group.
    pub fn group(name: &str) -> Self {
        Self::new(name, true)
    }

    /// This verb on this resource of this API group only.
    #[must_use]
    pub fn may(mut self, verb: &str, api_group: &str, resource: &str) -> Self {
        (self.verb, self.group, self.resource) =
            (verb.to_owned(), api_group.to_owned(), resource.to_owned());
        self
    }

    /// In this namespace only: it allows nothing that is asked of all namespaces.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// This verb on a path that is no resource.
    #[must_use]
    pub fn may_path(mut self, verb: &str, path: &str) -> Self {
        (self.verb, self.path) = (verb.to_owned(), Some(path.to_owned()));
        self
    }

    /// What `status.reason` says, instead of a binding named `test`.
    #[must_use]
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    fn is_met(&self, user: &str, groups: &[String], access: &Access) -> bool {
        let subject = if self.is_group {
            groups.contains(&self.subject)
        } else {
            user == self.subject
        };
        let is = |rule: &str, asked: &str| rule == "*" || rule == asked;
        let what = match (&self.path, &access.path) {
            (Some(path), Some(asked)) => is(path, asked),
            (None, None) => {
                let asked = match access.subresource.as_str() {
                    "" => access.resource.clone(),
                    sub => format!("{}/{sub}", access.resource),
                };
                is(&self.group, &access.group) && is(&self.resource, &asked)
            }
            _ => false,
        };
        let within = match (&self.namespace, &access.namespace) {
            (None, _) => true,
            (Some(rule), asked) => asked.as_ref() == Some(rule),
        };
        subject && what && within && is(&self.verb, &access.verb)
    }

    fn reason(&self) -> String {
        if let Some(reason) = &self.reason {
            return reason.clone();
        }
        let kind = if self.is_group { "Group" } else { "User" };
        let subject = &self.subject;
        match &self.namespace {
            None => format!(
                "RBAC: allowed by ClusterRoleBinding \"test\" of ClusterRole \"test\" to {kind} \
                 \"{subject}\""
            ),
            Some(namespace) => format!(
                "RBAC: allowed by RoleBinding \"test/{namespace}\" of Role \"test\" to {kind} \
                 \"{subject}\""
            ),
        }
    }
}

/// Whether it is allowed, and the reason if there is one to tell.
pub(super) fn authorize(
    rules: &[Rule],
    user: &str,
    groups: &[String],
    access: &Access,
) -> (bool, String) {
    if groups.iter().any(|group| group == "system:masters") {
        return (true, String::new());
    }
    let met = rules.iter().find(|rule| rule.is_met(user, groups, access));
    met.map_or((false, String::new()), |rule| (true, rule.reason()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_in_one_namespace_is_none_in_all() {
        let rules = [Rule::group("team")
            .may("get", "plimsoll.dev", "sizing")
            .within("shop")];
        let groups = ["team".to_owned()];
        let mut access = Access {
            verb: "get".into(),
            group: "plimsoll.dev".into(),
            resource: "sizing".into(),
            namespace: Some("shop".into()),
            ..Access::default()
        };
        assert!(authorize(&rules, "a", &groups, &access).0);
        assert!(!authorize(&rules, "a", &[], &access).0);
        access.namespace = None;
        assert!(!authorize(&rules, "a", &groups, &access).0);
        access.path = Some("/metrics".into());
        assert!(!authorize(&rules, "a", &groups, &access).0);
    }
}
