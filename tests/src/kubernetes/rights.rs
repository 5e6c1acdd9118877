//! Rules of Roles, short.

use serde_json::{Value, json};

/// A row of a Role: a group, resources of it, what may be done to them.
pub type Right<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

/// The rules of a Role.
pub fn rules(rights: &[Right<'_>]) -> Value {
    let rule =
        |(group, resources, verbs): &Right<'_>| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    rights.iter().map(rule).collect()
}
