//! What two servers answer, topic by topic, and a table of the topics in which they may differ, each with its reason.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What both answered to one topic.
#[derive(Debug)]
pub struct Topic {
    pub name: String,
    pub answers: [String; 2],
}

impl Topic {
    pub fn differs(&self) -> bool {
        self.answers[0] != self.answers[1]
    }
}

/// The topics of two answers, each a line `## name` and what follows it. They must have the same topics.
pub fn compare(first: &str, second: &str) -> Vec<Topic> {
    let [first, second] = [first, second].map(|answer| {
        let topics = answer.split("\n## ").map(|topic| topic.strip_prefix("## ").unwrap_or(topic));
        let named = topics.map(|topic| topic.split_once('\n').unwrap_or((topic, "")));
        named.map(|(name, lines)| (name.trim().to_owned(), lines.trim_end().to_owned())).collect::<Vec<_>>()
    });
    let names = |topics: &[(String, String)]| topics.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&first), names(&second), "the topics of both");
    assert!(first.len() > 5, "a client that says something: {first:?}");
    let both = first.into_iter().zip(second);
    both.map(|((name, first), (_, second))| Topic { name, answers: [first, second] }).collect()
}

/// How a client's topics stand with the table.
#[derive(Debug, Default)]
pub struct Checked {
    pub n_equal: usize,
    pub n_different: usize,
    /// what the table does not say, or says of answers that are the same
    pub wrong: Vec<String>,
}

/// A table: lines `client | topic | reason`.
pub struct Differences {
    path: PathBuf,
}

/// Said by who writes the table anew; a reason that a human has to give.
const UNEXPLAINED: &str = "unexplained";

impl Differences {
    pub fn of(path: &str) -> Differences {
        Differences { path: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path) }
    }

    /// The comments at its top, and its lines, by client and topic.
    fn read(&self) -> (String, BTreeMap<(String, String), String>) {
        let text = std::fs::read_to_string(&self.path).expect("the table");
        let mut reasons = BTreeMap::new();
        let mut comments = String::new();
        for line in text.lines() {
            if line.starts_with('#') || line.is_empty() {
                comments.push_str(&format!("{line}\n"));
                continue;
            }
            let (client, rest) = line.split_once(" | ").expect("client | topic | reason");
            let (topic, reason) = rest.rsplit_once(" | ").expect("client | topic | reason");
            let twice = reasons.insert((client.to_owned(), topic.to_owned()), reason.to_owned());
            assert!(twice.is_none(), "twice in {}: {line}", self.path.display());
        }
        (comments, reasons)
    }

    /// Fails for a difference that has no reason, and for a reason that has no difference.
    pub fn hold(&self, client: &str, topics: &[Topic]) {
        let checked = self.check(client, topics);
        println!("{client}: {} equal, {} different with reason", checked.n_equal, checked.n_different);
        let wrong = checked.wrong;
        assert!(wrong.is_empty(), "{client} gets other answers than from PostgreSQL:\n{}", wrong.join("\n"));
    }

    pub fn check(&self, client: &str, topics: &[Topic]) -> Checked {
        static WRITING: Mutex<()> = Mutex::new(());
        let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let (comments, reasons) = self.read();
        let key = |topic: &Topic| (client.to_owned(), topic.name.clone());
        if std::env::var_os("GRANARY_TEST_WRITE").is_some() {
            let mut new: BTreeMap<_, _> = reasons.clone().into_iter().filter(|((of, _), _)| of != client).collect();
            for topic in topics.iter().filter(|topic| topic.differs()) {
                let reason = reasons.get(&key(topic)).cloned().unwrap_or_else(|| UNEXPLAINED.to_owned());
                new.insert(key(topic), reason);
            }
            let lines = new.iter().map(|((client, topic), reason)| format!("{client} | {topic} | {reason}\n"));
            std::fs::write(&self.path, format!("{comments}{}", lines.collect::<String>())).expect("writes");
            return Checked::default();
        }
        let mut wrong = Vec::new();
        for topic in topics {
            match reasons.get(&key(topic)) {
                None if topic.differs() => {
                    let [first, second] = &topic.answers;
                    wrong.push(format!("## {}\nPostgreSQL: {first}\nGranary:    {second}", topic.name));
                }
                Some(reason) if topic.differs() && reason == UNEXPLAINED => {
                    wrong.push(format!("## {}\nhas no reason yet", topic.name));
                }
                Some(_) if !topic.differs() => {
                    wrong.push(format!("## {}\nis the same: take it out of the table", topic.name));
                }
                _ => {}
            }
        }
        for (of, topic) in reasons.keys().filter(|(of, _)| of == client) {
            if topics.iter().all(|known| known.name != *topic) {
                wrong.push(format!("## {topic}\nis no topic of {of}: take it out of the table"));
            }
        }
        let n_different = topics.iter().filter(|topic| topic.differs()).count();
        Checked { n_equal: topics.len() - n_different, n_different, wrong }
    }
}
