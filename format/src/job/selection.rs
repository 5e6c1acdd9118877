//! Which topics and consumer groups a job is about: regular expressions over whole names, internal topics only if asked for
//! by name, the groups of restores never.

use regex::Regex;
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::ids::{GroupId, TopicName};

/// Prefix of Kafka's own topics and those of its tools.
const INTERNAL: &str = "__";

/// Prefix of the groups in which restores keep their progress.
pub const RESTORE_GROUP_PREFIX: &str = "strimzi-backup-restore-";

/// Chosen topics: a name that at least one `include` matches as a whole and no `exclude` does.
///
/// A topic that starts with `__` is chosen only by an entry that itself starts with `__`, be it a name or a pattern; so
/// `.*` never pulls in `__transaction_state`. `__consumer_offsets` is never chosen: consumer groups are chosen by themselves.
#[derive(Clone, Debug)]
pub struct TopicSelection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// Chosen consumer groups: an id that at least one `include` matches as a whole and no `exclude` does. What a restore keeps
/// its progress in is never chosen.
#[derive(Clone, Debug)]
pub struct GroupSelection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// One entry, and whether it may choose internal topics.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// As it was written.
    text: String,
    whole_name: Regex,
    internal: bool,
}

impl TopicSelection {
    pub(super) fn new(include: Vec<Pattern>, exclude: Vec<Pattern>) -> Self {
        Self { include, exclude }
    }

    /// The patterns that names are matched against, of `include` and of `exclude`: what makes two selections the same.
    pub fn patterns(&self) -> [Vec<&str>; 2] {
        [&self.include, &self.exclude].map(|entries| texts(entries))
    }

    /// The entries of `include` and of `exclude` as they were written, for people.
    pub fn written(&self) -> [Vec<&str>; 2] {
        [&self.include, &self.exclude].map(|entries| entries.iter().map(|entry| entry.text.as_str()).collect())
    }

    /// Whether the topic belongs to the job.
    pub fn selects(&self, topic: &TopicName) -> bool {
        let name = topic.as_str();
        let included = |entry: &Pattern| (entry.internal || !topic.is_internal()) && entry.whole_name.is_match(name);
        !topic.is_consumer_offsets()
            && self.include.iter().any(included)
            && !self.exclude.iter().any(|entry| entry.whole_name.is_match(name))
    }
}

fn texts(entries: &[Pattern]) -> Vec<&str> {
    entries.iter().map(|entry| entry.whole_name.as_str()).collect()
}

impl GroupSelection {
    pub(super) fn new(include: Vec<Pattern>, exclude: Vec<Pattern>) -> Self {
        Self { include, exclude }
    }

    /// As [`TopicSelection::patterns`].
    pub fn patterns(&self) -> [Vec<&str>; 2] {
        [&self.include, &self.exclude].map(|entries| texts(entries))
    }

    /// Whether the group belongs to the job.
    pub fn selects(&self, group: &GroupId) -> bool {
        let id = group.as_str();
        let matched = |entries: &[Pattern]| entries.iter().any(|entry| entry.whole_name.is_match(id));
        !id.starts_with(RESTORE_GROUP_PREFIX) && matched(&self.include) && !matched(&self.exclude)
    }
}

impl Pattern {
    /// Compiles `text`, which must match whole names of topics.
    ///
    /// # Errors
    /// What is wrong with the pattern and where, for people.
    pub(super) fn of_topics(text: &str) -> Result<Self, String> {
        if TopicName::consumer_offsets().as_str() == text {
            return Err(format!(
                "{text} is not backed up or restored as a topic; consumerGroups chooses what of it is"
            ));
        }
        let parsed = parsed(text)?;
        let internal = matches_only_internal(&parsed);
        if text.starts_with(INTERNAL) && !internal {
            return Err(format!(
                "pattern {text:?} starts with '__' but also matches names that do not; give internal topics entries of \
                 their own"
            ));
        }
        Ok(Self { text: text.to_owned(), whole_name: whole(text, parsed)?, internal })
    }

    /// Compiles `text`, which must match whole ids of consumer groups; none of them is internal.
    ///
    /// # Errors
    /// As [`Pattern::of_topics`].
    pub(super) fn of_groups(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), whole_name: whole(text, parsed(text)?)?, internal: false })
    }
}

fn parsed(text: &str) -> Result<Hir, String> {
    regex_syntax::parse(text).map_err(|error| syntax_fault(text, &error))
}

/// A pattern that matches whole names. The anchors are added to the parsed pattern, not to its text: `a|b` or a trailing
/// `(?x) # comment` would swallow anchors written around it.
fn whole(text: &str, parsed: Hir) -> Result<Regex, String> {
    let anchored = Hir::concat(vec![Hir::look(Look::Start), parsed, Hir::look(Look::End)]);
    Regex::new(&anchored.to_string()).map_err(|error| format!("pattern {text:?} cannot be used: {error}"))
}

fn syntax_fault(text: &str, error: &regex_syntax::Error) -> String {
    let (position, kind) = match error {
        regex_syntax::Error::Parse(error) => (Some(error.span().start.column), error.kind().to_string()),
        regex_syntax::Error::Translate(error) => (Some(error.span().start.column), error.kind().to_string()),
        _ => (None, error.to_string()),
    };
    let place = position.map(|column| format!(" at character {column}")).unwrap_or_default();
    format!("bad regular expression {text:?}{place}: {kind}")
}

/// Whether every match of the pattern begins with a literal `__`.
fn matches_only_internal(pattern: &Hir) -> bool {
    match pattern.kind() {
        HirKind::Literal(literal) => literal.0.starts_with(INTERNAL.as_bytes()),
        HirKind::Capture(group) => matches_only_internal(&group.sub),
        HirKind::Concat(parts) => {
            parts.iter().find(|part| !matches!(part.kind(), HirKind::Look(_))).is_some_and(matches_only_internal)
        }
        HirKind::Alternation(branches) => branches.iter().all(matches_only_internal),
        _ => false,
    }
}
