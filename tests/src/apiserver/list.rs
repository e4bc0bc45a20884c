//! Lists, their pages, and single objects.

use std::ops::Bound;
use std::sync::Arc;

use super::Shared;
use super::catalog::Resource;
use super::object::Object;
use super::out::{Out, Over};
use super::query::{At, Form, ListOptions, Page};
use super::status::{self, Canned};
use super::store::{Objects, Unreachable};

/// A list that can be sent: everything is decided.
#[derive(Debug)]
pub(super) struct List {
    head: String,
    items: Vec<Arc<Object>>,
    form: Form,
    resource: Resource,
}

/// What a list answers.
///
/// # Errors
/// The refusal.
pub(super) fn list(
    shared: &Shared,
    (index, resource): (usize, &Resource),
    namespace: Option<&str>,
    options: &ListOptions,
    form: Form,
) -> Result<List, Canned> {
    let (version, objects) = state_at(shared, index, &options.at)?;
    let (mut items, left) = page(&objects, namespace, options);
    let next = if left > 0 {
        items.last().map(|last| key(last, namespace))
    } else {
        None
    };
    if let Some(selector) = &options.selector {
        items.retain(|object| selector.takes(object));
    }
    let mut metadata = format!("\"resourceVersion\":\"{version}\"");
    if let Some(after) = next {
        let token = Page {
            version: Some(version),
            after,
        }
        .token();
        metadata = format!("{metadata},\"continue\":\"{token}\"");
        // With a selector nobody counts what is left.
        if options.selector.is_none() {
            metadata = format!("{metadata},\"remainingItemCount\":{left}");
        }
    } else if resource.is_custom() && form == Form::Whole {
        // Said though it is empty.
        metadata = format!("\"continue\":\"\",{metadata}");
    }
    let (kind, api_version) = match form {
        Form::Whole => (format!("{}List", resource.kind), resource.api_version()),
        Form::Metadata => (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
        ),
    };
    let head = format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{{metadata}}},\
         \"items\":["
    );
    Ok(List {
        head,
        items,
        form,
        resource: resource.clone(),
    })
}

/// The key of an object below the list's prefix.
fn key(object: &Object, namespace: Option<&str>) -> String {
    match (object.name(), namespace) {
        ((space, name), None) if !space.is_empty() => format!("{space}/{name}"),
        ((_, name), _) => name,
    }
}

fn state_at(shared: &Shared, index: usize, at: &At) -> Result<(u64, Arc<Objects>), Canned> {
    let store = &mut shared.state().store;
    let current = store.version();
    let future = |asked: u64| {
        let status = status::future(asked, current);
        Canned::json(504, status.to_string()).with("Retry-After", "1")
    };
    match at {
        At::NotOlderThan(version) if *version > current => Err(future(*version)),
        At::Newest | At::NotOlderThan(_) | At::Rest(Page { version: None, .. }) => {
            Ok((current, store.now(index)))
        }
        At::Exactly(version) => match store.at(index, *version) {
            Ok(objects) => Ok((*version, objects)),
            Err(Unreachable::TooOld) => Err(status::list_too_old()),
            Err(Unreachable::Future) => Err(future(*version)),
        },
        At::Rest(Page {
            version: Some(version),
            after,
        }) => {
            let rest = Page {
                version: None,
                after: after.clone(),
            };
            let objects = store.at(index, *version);
            let objects = objects.map_err(|_| status::continue_expired(&rest.token()))?;
            Ok((*version, objects))
        }
    }
}

/// The objects of one page, and how many come after it.
fn page(
    objects: &Objects,
    namespace: Option<&str>,
    options: &ListOptions,
) -> (Vec<Arc<Object>>, usize) {
    let begin = match (&options.at, namespace) {
        (At::Rest(page), Some(namespace)) => {
            Bound::Excluded((namespace.to_owned(), page.after.clone()))
        }
        (At::Rest(page), None) => {
            let (space, name) = page.after.split_once('/').unwrap_or(("", &page.after));
            Bound::Excluded((space.to_owned(), name.to_owned()))
        }
        (_, Some(namespace)) => Bound::Included((namespace.to_owned(), String::new())),
        _ => Bound::Unbounded,
    };
    let within = |(space, _): &(&(String, String), _)| namespace.is_none_or(|n| n == space.0);
    let mut rest = objects.range((begin, Bound::Unbounded)).take_while(within);
    let limit = options.limit.unwrap_or(usize::MAX);
    let items = rest
        .by_ref()
        .take(limit)
        .map(|(_, o)| Arc::clone(o))
        .collect();
    (items, rest.count())
}

impl List {
    /// Sends it.
    pub(super) async fn send(self, mut out: Out) -> Result<(), Over> {
        out.raw(&self.head).await?;
        out.begin().await?;
        for object in self.items {
            let mut text = String::new();
            match self.form {
                Form::Whole if self.resource.is_custom() => {
                    object.write_typed(&self.resource, &mut text);
                }
                Form::Whole => object.write_item(&mut text),
                Form::Metadata => object.write_partial(&mut text),
            }
            out.item(&object.name(), text).await?;
        }
        out.raw("]}\n").await?;
        out.end().await
    }
}

/// One object.
pub(super) fn get(
    shared: &Shared,
    (index, resource): (usize, &Resource),
    namespace: &str,
    name: &str,
    form: Form,
) -> Canned {
    let found = shared
        .state()
        .store
        .get(index, &(namespace.to_owned(), name.to_owned()));
    let Some(object) = found else {
        return status::not_found(resource, name);
    };
    let mut text = String::new();
    match form {
        Form::Whole => object.write_typed(resource, &mut text),
        Form::Metadata => object.write_partial(&mut text),
    }
    text.push('\n');
    Canned::json(200, text)
}
