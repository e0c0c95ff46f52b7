//! The texts of a repository as declarations: each statement with its file and line, comments where they belong.

use granary_catalog::PlanFile;
use granary_sql::declaration::{self, DeclaredKind};
use granary_sql::name::fold;
use granary_sql::statement::{CommentOn, CommentTarget};
use granary_sql::{QualifiedName, Statement, without_secrets};
use sqlparser::ast;

use crate::error::{Error, Kind, Result};

/// One file, or a text that came from none.
#[derive(Debug, Clone)]
pub struct File {
    /// empty: from none
    pub path: String,
    pub text: String,
}

/// Where a statement begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub file: usize,
    /// byte in its text
    pub offset: usize,
}

/// What an object is to be.
#[derive(Debug, Clone)]
pub struct Declaration {
    pub kind: DeclaredKind,
    /// as it was written; None: that of the search path
    pub schema: Option<String>,
    pub name: String,
    /// without OR REPLACE and IF NOT EXISTS
    pub statement: Statement,
    /// from which it was read, as it was typed
    pub text: String,
    pub place: Place,
}

/// A statement about objects that are declared elsewhere: it is carried out behind all declarations.
#[derive(Debug, Clone)]
pub struct Remark {
    pub statement: Statement,
    pub text: String,
    pub place: Place,
}

#[derive(Debug, Default)]
pub struct Texts {
    pub files: Vec<File>,
    pub declarations: Vec<Declaration>,
    pub remarks: Vec<Remark>,
}

impl Texts {
    /// Errors: those of the parser, with the file and the line; a name that is declared twice; what declares nothing.
    pub fn read(files: Vec<File>) -> Result<Texts> {
        let mut texts = Texts { files, ..Texts::default() };
        for file in 0..texts.files.len() {
            let parsed = granary_sql::parse(&texts.files[file].text)
                .map_err(|error| located(&texts.files[file], None, Error::from(error)))?;
            for parsed in parsed {
                let place = Place { file, offset: parsed.offset };
                texts.add(parsed.statement, parsed.text, place).map_err(|error| texts.at(place, error))?;
            }
        }
        texts.put_comments_in_place();
        Ok(texts)
    }

    fn add(&mut self, statement: Statement, text: String, place: Place) -> Result<()> {
        if let Some((kind, name)) = declaration::declared(&statement) {
            let name = QualifiedName::of(name).ok_or_else(|| Error::new(Kind::InvalidName, "it has no name"))?;
            let QualifiedName { schema, name, .. } = name;
            let known = self
                .declarations
                .iter()
                .find(|known| known.kind.shares_names_with(kind) && known.name == name && known.schema == schema);
            if let Some(known) = known {
                let message = format!("\"{name}\" is declared twice");
                let detail = format!("It is declared in {}, too.", self.shown(known.place));
                return Err(Error::new(Kind::DuplicateObject, message).with_detail(detail));
            }
            let statement = declaration::bare(statement);
            self.declarations.push(Declaration { kind, schema, name, statement, text, place });
            return Ok(());
        }
        match &statement {
            Statement::CommentOn(_) => {}
            Statement::Postgres(postgres)
                if matches!(postgres.ast.as_ref(), ast::Statement::Grant(_) | ast::Statement::Revoke(_)) => {}
            _ => {
                let what = super::super::execute::first_words(&text);
                let message = format!("{what} cannot stand in a repository, which only declares");
                return Err(Error::new(Kind::FeatureNotSupported, message).with_hint(
                    "it takes CREATE of entities, sources, streams, views, features, services, functions, sinks, tests, \
                     schemas and tables, COMMENT ON, GRANT and REVOKE",
                ));
            }
        }
        self.remarks.push(Remark { statement, text, place });
        Ok(())
    }

    /// COMMENT ON of an object whose CREATE has a place for a comment is said there, so that both ways of saying it are
    /// the same declaration.
    fn put_comments_in_place(&mut self) {
        let remarks = std::mem::take(&mut self.remarks);
        for remark in remarks {
            if !self.put_comment(&remark.statement) {
                self.remarks.push(remark);
            }
        }
    }

    fn put_comment(&mut self, remark: &Statement) -> bool {
        let Statement::CommentOn(CommentOn { target, comment }) = remark else { return false };
        match target {
            CommentTarget::Object { kind, name, .. } => {
                let wanted = declared_kind(*kind);
                let statement = self.named(name, |kind| Some(kind) == wanted);
                statement.is_some_and(|statement| declaration::say_comment(statement, comment.clone()))
            }
            CommentTarget::Column { relation, column } => {
                let view = self.named(relation, |kind| kind == DeclaredKind::FeatureView);
                let Some(Statement::CreateFeatureView(view)) = view else { return false };
                let mut features = view.features.iter_mut().flatten();
                let Some(feature) = features.find(|feature| fold(&feature.alias) == fold(column)) else { return false };
                feature.comment.clone_from(comment);
                true
            }
            CommentTarget::Postgres { .. } | CommentTarget::OnRelation { .. } => false,
        }
    }

    /// The statement that declares what a name means, if that is of such a kind.
    fn named(&mut self, name: &ast::ObjectName, is_wanted: impl Fn(DeclaredKind) -> bool) -> Option<&mut Statement> {
        let name = QualifiedName::of(name)?;
        let is_it = |declared: &&mut Declaration| {
            is_wanted(declared.kind) && declared.name == name.name && declared.schema == name.schema
        };
        self.declarations.iter_mut().find(is_it).map(|declared| &mut declared.statement)
    }

    /// `file:line`, or `line n`.
    pub fn shown(&self, place: Place) -> String {
        shown(&self.files[place.file], place.offset)
    }

    /// An error of a statement, with its place: the error's own position counts in the file.
    pub fn at(&self, place: Place, error: Error) -> Error {
        located(&self.files[place.file], Some(place.offset), error)
    }

    /// The texts as they may be kept, and whether something was blanked in them.
    pub fn kept(&self) -> (Vec<PlanFile>, bool) {
        let mut has_secrets = false;
        let kept = self.files.iter().map(|File { path, text }| {
            let shown = without_secrets(text).into_owned();
            has_secrets |= shown != *text;
            PlanFile { path: path.clone(), text: shown }
        });
        (kept.collect(), has_secrets)
    }
}

fn shown(file: &File, offset: usize) -> String {
    let line = file.text.get(..offset).unwrap_or_default().matches('\n').count() + 1;
    if file.path.is_empty() { format!("line {line}") } else { format!("{}:{line}", file.path) }
}

/// `start`: where the statement begins, for an error without a position.
fn located(file: &File, start: Option<usize>, error: Error) -> Error {
    let of_position = |position: u32| {
        let characters = usize::try_from(position).unwrap_or(usize::MAX).saturating_sub(1);
        file.text.char_indices().nth(characters).map_or(file.text.len(), |(byte, _)| byte)
    };
    if error.context().is_some_and(|context| context.starts_with("in ")) {
        return error.without_position();
    }
    match error.position().map(of_position).or(start) {
        Some(offset) => error.without_position().with_context(format!("in {}", shown(file, offset))),
        None => error.without_position(),
    }
}

fn declared_kind(kind: granary_sql::ObjectKind) -> Option<DeclaredKind> {
    use granary_sql::ObjectKind as Sql;
    Some(match kind {
        Sql::Entity => DeclaredKind::Entity,
        Sql::Source => DeclaredKind::Source,
        Sql::Stream => DeclaredKind::Stream,
        Sql::Sink => DeclaredKind::Sink,
        Sql::FeatureView => DeclaredKind::FeatureView,
        Sql::FeatureTable => DeclaredKind::FeatureTable,
        Sql::RealtimeFeatureView => DeclaredKind::RealtimeFeatureView,
        Sql::FeatureService => DeclaredKind::FeatureService,
        Sql::Function => DeclaredKind::Function,
        Sql::Test => DeclaredKind::Test,
        Sql::Expectation => DeclaredKind::Expectation,
        Sql::Alert => DeclaredKind::Alert,
        Sql::Workspace | Sql::Dataset | Sql::Secret | Sql::ApiKey => return None,
    })
}
