//! What `kubectl apply` installs the operator with: deploy/install.yaml, made of the Helm chart, which a test compares.

use serde_norway::Value;

/// The namespace that [`INSTALL`] installs into.
pub const NAMESPACE: &str = "strimzi-backup";

/// All objects: the namespace, the definitions, the operator and its roles.
pub const INSTALL: &str = include_str!("../../deploy/install.yaml");

/// The longest name of a namespace.
const LONGEST: usize = 63;

/// Why there are no objects for a namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No namespace can have this name.
    #[error(
        "{0:?} is no name of a namespace: up to {LONGEST} lower-case letters, digits and hyphens, the first and the last no hyphen"
    )]
    Name(String),
    /// The objects are not as this program expects them: a fault of its build.
    #[error("read or write the objects that are built into this program")]
    Objects(#[from] serde_norway::Error),
}

/// The objects, for a namespace of that name: [`INSTALL`] as it is where it is [`NAMESPACE`], otherwise without its
/// comments.
///
/// # Errors
/// [`Error::Name`] where no namespace can have the name.
pub fn for_namespace(name: &str) -> Result<String, Error> {
    if name == NAMESPACE {
        return Ok(INSTALL.to_owned());
    }
    if !is_name(name) {
        return Err(Error::Name(name.to_owned()));
    }
    let mut text = String::new();
    for document in serde_norway::Deserializer::from_str(INSTALL) {
        let mut object: Value = serde::Deserialize::deserialize(document)?;
        rename(&mut object, name);
        text.push_str("---\n");
        text.push_str(&serde_norway::to_string(&object)?);
    }
    Ok(text)
}

fn is_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [name.bytes().next(), name.bytes().next_back()];
    name.len() <= LONGEST
        && name.bytes().all(|byte| inside(byte) || byte == b'-')
        && ends.iter().all(|end| end.is_some_and(inside))
}

/// A namespace stands in four places: as an object, at every object in it, at the subjects of bindings, and in the names
/// of the cluster's own roles, which have to be different for each namespace.
fn rename(object: &mut Value, name: &str) {
    let is_namespace = object.get("kind").and_then(Value::as_str) == Some("Namespace");
    if let Some(metadata) = object.get_mut("metadata") {
        set(metadata, "namespace", name);
        if is_namespace {
            set(metadata, "name", name);
        }
        rename_role(metadata, name);
    }
    if let Some(role) = object.get_mut("roleRef") {
        rename_role(role, name);
    }
    for subject in object.get_mut("subjects").and_then(Value::as_sequence_mut).into_iter().flatten() {
        set(subject, "namespace", name);
    }
}

/// Sets a field that is there.
fn set(object: &mut Value, field: &str, text: &str) {
    if let Some(value) = object.get_mut(field) {
        *value = Value::String(text.to_owned());
    }
}

/// `<namespace>:<name>`, as the chart names roles.
fn rename_role(reference: &mut Value, namespace: &str) {
    let name = reference.get("name").and_then(Value::as_str);
    if let Some((NAMESPACE, name)) = name.and_then(|name| name.split_once(':')) {
        let renamed = format!("{namespace}:{name}");
        set(reference, "name", &renamed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_goes_to_the_namespace_that_is_asked_for() {
        let text = for_namespace("elsewhere").unwrap();
        let documents = |text: &str| text.matches("\nkind: ").count();
        assert_eq!(documents(&text), documents(INSTALL));
        let namespaces = |text: &str, name: &str| text.matches(&format!("namespace: {name}\n")).count();
        assert_eq!(namespaces(&text, "elsewhere"), namespaces(INSTALL, NAMESPACE));
        // What is left of the other name are labels, images and fields that are no namespaces.
        for left in ["namespace: strimzi-backup\n", "name: strimzi-backup\n", "strimzi-backup:"] {
            assert!(!text.contains(left), "{left}");
        }
        assert!(text.contains("name: elsewhere:strimzi-backup-operator\n"));
    }

    #[test]
    fn the_usual_namespace_takes_the_file_as_it_is_and_impossible_ones_are_refused() {
        assert_eq!(for_namespace(NAMESPACE).unwrap(), INSTALL);
        for name in ["", "-a", "a-", "A", "a.b", "a\nb", &"a".repeat(64)] {
            assert!(matches!(for_namespace(name), Err(Error::Name(_))), "{name:?}");
        }
    }
}
