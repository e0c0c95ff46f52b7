//! `granary plan`, `apply`, `test`, `log`, `restore` and `init`: a folder of .sql files as the declaration of a workspace.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::client::{self, Notices};
use super::plan_text::{self, Row};
use super::sql::{config, print};
use crate::error::{Error, Kind, Result, io_error};

/// Where the server is, and which of its workspaces is meant.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// The server; without a password in it, that of GRANARY_PASSWORD or PGPASSWORD
    #[arg(long, value_name = "DSN", default_value = "postgres://granary@127.0.0.1:5433/granary")]
    dsn: String,
    /// The workspace, instead of the one that the DSN names
    #[arg(long, short, value_name = "NAME")]
    workspace: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a plan is made.
#[derive(Debug, Args)]
pub struct MadeArguments {
    /// What it is for, as `granary log` will show it
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Do not run the repository's tests
    #[arg(long)]
    skip_tests: bool,
    /// Keep stored rows of feature views whose definition changes in what decides them: their owner says that they are the
    /// same
    #[arg(long)]
    suppress_recreates: bool,
}

#[derive(Debug, Args)]
pub struct PlanArguments {
    /// The repository: a folder with .sql files, at any depth
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    made: MadeArguments,
    /// Exit with 2 if something changes, and with 3 if something is recreated or dropped
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, Args)]
pub struct ApplyArguments {
    /// The repository: a folder with .sql files, at any depth [default: .]
    #[arg(value_name = "DIR", conflicts_with = "plan")]
    folder: Option<PathBuf>,
    /// Apply this plan instead, if its workspace has not changed since
    #[arg(long, value_name = "NUMBER", conflicts_with = "suppress_recreates")]
    plan: Option<i64>,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    made: MadeArguments,
    /// Do not ask before
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
pub struct TestArguments {
    /// The repository: a folder with .sql files, at any depth
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    server: ServerArguments,
    /// Run this test alone
    #[arg(long, value_name = "TEST")]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub struct LogArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// How many of the newest to show
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: i64,
}

#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// An empty folder, or a new one
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The plan whose files are wanted [default: the one that was applied last]
    #[arg(long, value_name = "NUMBER", conflicts_with = "backup")]
    plan: Option<i64>,
    /// Make a data folder instead, of the backup there: s3://bucket/folder, or a folder
    #[arg(long, value_name = "URL")]
    backup: Option<String>,
    /// Which backup [default: the newest]
    #[arg(long, value_name = "BACKUP", requires = "backup")]
    id: Option<String>,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Args)]
pub struct InitArguments {
    /// The new repository's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// A connection, and the name of its workspace.
struct Workspace {
    client: Client,
    name: String,
}

impl Workspace {
    async fn connect(arguments: &ServerArguments) -> Result<Workspace> {
        let mut config = config(&arguments.dsn)?;
        if let Some(workspace) = &arguments.workspace {
            config.dbname(workspace);
        }
        config.application_name("granary plan");
        let name = config.get_dbname().unwrap_or_default().to_owned();
        Ok(Workspace { client: client::connect(&config, Notices::Shown).await?, name })
    }

    /// The one value of the one row of a statement, as JSON.
    async fn json(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Value> {
        let row = self.client.query_one(sql, parameters).await.map_err(|error| told(&error))?;
        let text: Option<String> = row.try_get(0).map_err(|error| told(&error))?;
        let text = text.unwrap_or_else(|| "null".to_owned());
        serde_json::from_str(&text).map_err(|error| Error::internal("an answer is not JSON").with_source(error))
    }

    /// The rows of a statement whose columns are texts.
    async fn texts(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Vec<Option<String>>>> {
        let rows = self.client.query(sql, parameters).await.map_err(|error| told(&error))?;
        let texts = |row: &tokio_postgres::Row| {
            (0..row.len()).map(|place| row.try_get(place).map_err(|error| told(&error))).collect()
        };
        rows.iter().map(texts).collect()
    }

    /// The rows of a call of `granary.plan` or `granary.apply`, and the number of their plan.
    async fn rows(&self, call: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<(Option<i64>, Vec<Row>, Value)> {
        let sql = format!("SELECT json_agg(p)::text FROM {call} AS p");
        let found = self.json(&sql, parameters).await?;
        let rows =
            plan_text::rows(&found).map_err(|error| Error::internal("a plan does not read").with_source(error))?;
        let plan = found.as_array().and_then(|rows| rows.first()).and_then(|row| row["plan"].as_i64());
        Ok((plan, rows, found))
    }
}

/// The server's error, with where it says that it is.
fn told(error: &tokio_postgres::Error) -> Error {
    let Some(refused) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        return Error::new(Kind::IoError, cause).with_hint("does the server still run?");
    };
    let place = refused.where_().map_or_else(String::new, |place| format!("\n  {place}"));
    client::database_error(refused, format!("{} ({}){place}", refused.message(), refused.code().code()))
}

/// Files of SQL: their texts and, in the same order, their paths in the repository.
struct Files {
    texts: Vec<String>,
    paths: Vec<String>,
}

impl Files {
    /// All .sql files of a folder, but for those whose names, or whose folders' names, begin with a dot.
    fn read(folder: &Path) -> Result<Files> {
        let mut found = Vec::new();
        collect(folder, &mut found)?;
        if found.is_empty() {
            let message = format!("there is no .sql file in \"{}\"", folder.display());
            return Err(Error::new(Kind::UndefinedFile, message).with_hint("granary init DIR makes a repository"));
        }
        found.sort();
        let mut files = Files { texts: Vec::new(), paths: Vec::new() };
        for path in found {
            let bytes = std::fs::read(&path).map_err(|error| io_error("read", &path, error))?;
            let text = String::from_utf8(bytes).map_err(|_| {
                Error::new(Kind::InvalidTextRepresentation, format!("\"{}\" is not text in UTF-8", path.display()))
            })?;
            files.texts.push(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text));
            let relative = path.strip_prefix(folder).unwrap_or(&path);
            let parts = relative.components().map(|part| part.as_os_str().to_string_lossy());
            files.paths.push(parts.collect::<Vec<_>>().join("/"));
        }
        Ok(files)
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|error| io_error("read", folder, error))? {
        let path = entry.map_err(|error| io_error("read", folder, error))?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            found.push(path);
        }
    }
    Ok(())
}

/// How the process ends.
const CHANGES: u8 = 2;
const DESTROYS: u8 = 3;

/// Shows what would change. Gives the exit code.
pub async fn plan(arguments: PlanArguments) -> Result<u8> {
    let files = Files::read(&arguments.folder)?;
    let workspace = Workspace::connect(&arguments.server).await?;
    let tests = !arguments.made.skip_tests;
    let suppresses = arguments.made.suppress_recreates;
    let (plan, rows, json) =
        workspace.rows(PLAN, &[&files.texts, &files.paths, &arguments.made.message, &tests, &suppresses]).await?;
    show(&workspace, &arguments.server, (plan, &rows, json))?;
    Ok(match () {
        () if !arguments.exit_code || rows.is_empty() => 0,
        () if rows.iter().any(Row::destroys) => DESTROYS,
        () => CHANGES,
    })
}

const PLAN: &str = "granary.plan($1::text[], $2::text[], message => $3::text, tests => $4::boolean, \
                    suppress_recreates => $5::boolean)";
const APPLY: &str = "granary.apply($1::text[], $2::text[], message => $3::text, tests => $4::boolean, \
                     suppress_recreates => $5::boolean)";
const APPLY_PLAN: &str = "granary.apply(plan => $1::bigint, message => $2::text, tests => $3::boolean)";

/// Makes the workspace what the repository declares, all at once or not at all.
pub async fn apply(arguments: ApplyArguments) -> Result<()> {
    let (tests, suppresses) = (!arguments.made.skip_tests, arguments.made.suppress_recreates);
    let workspace;
    let (plan, rows, json) = match arguments.plan {
        Some(plan) => {
            workspace = Workspace::connect(&arguments.server).await?;
            workspace.rows(APPLY_PLAN, &[&plan, &arguments.made.message, &tests]).await?
        }
        None => {
            let files = Files::read(arguments.folder.as_deref().unwrap_or(Path::new(".")))?;
            workspace = Workspace::connect(&arguments.server).await?;
            match confirmed(&workspace, &arguments, &files).await? {
                Confirmed::NothingToDo => return Ok(()),
                Confirmed::Plan(plan) => workspace.rows(APPLY_PLAN, &[&plan, &arguments.made.message, &false]).await?,
                Confirmed::Unasked => {
                    let given: [&(dyn ToSql + Sync); 5] =
                        [&files.texts, &files.paths, &arguments.made.message, &tests, &suppresses];
                    workspace.rows(APPLY, &given).await?
                }
            }
        }
    };
    show(&workspace, &arguments.server, (plan, &rows, json))?;
    if !arguments.server.json && !rows.is_empty() {
        print("Applied.\n")?;
    }
    Ok(())
}

enum Confirmed {
    /// this plan was shown, and is wanted
    Plan(i64),
    NothingToDo,
    Unasked,
}

async fn confirmed(workspace: &Workspace, arguments: &ApplyArguments, files: &Files) -> Result<Confirmed> {
    if arguments.yes {
        return Ok(Confirmed::Unasked);
    }
    if !std::io::stdin().is_terminal() {
        let message = "there is nobody to ask whether to apply the plan";
        return Err(Error::new(Kind::InvalidParameterValue, message).with_hint("say --yes, or apply --plan NUMBER"));
    }
    let (tests, suppresses) = (!arguments.made.skip_tests, arguments.made.suppress_recreates);
    let (plan, rows, _) =
        workspace.rows(PLAN, &[&files.texts, &files.paths, &arguments.made.message, &tests, &suppresses]).await?;
    print(&plan_text::text(&workspace.name, plan, &rows))?;
    let Some(plan) = plan else { return Ok(Confirmed::NothingToDo) };
    print(&format!("\nApply plan {plan} to workspace {}? [y/N] ", workspace.name))?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Error::new(Kind::IoError, format!("could not read the answer: {error}")))?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(Confirmed::Plan(plan)),
        _ => Err(Error::new(Kind::QueryCanceled, "nothing was applied")),
    }
}

fn show(
    workspace: &Workspace,
    server: &ServerArguments,
    (plan, rows, json): (Option<i64>, &[Row], Value),
) -> Result<()> {
    if server.json {
        let changes = if json.is_null() { json!([]) } else { json };
        let shown = json!({ "workspace": workspace.name, "plan": plan, "changes": changes });
        return print(&format!("{}\n", serde_json::to_string_pretty(&shown).unwrap_or_default()));
    }
    print(&plan_text::text(&workspace.name, plan, rows))
}

/// Runs the repository's tests. Gives the exit code.
pub async fn test(arguments: TestArguments) -> Result<u8> {
    let files = Files::read(&arguments.folder)?;
    let workspace = Workspace::connect(&arguments.server).await?;
    let sql = "SELECT json_agg(t)::text FROM granary.test($1::text[], $2::text[], name => $3::text) AS t";
    let found = workspace.json(sql, &[&files.texts, &files.paths, &arguments.name]).await?;
    let tests = found.as_array().cloned().unwrap_or_default();
    let failed = tests.iter().filter(|test| test["passed"] != json!(true)).count();
    if arguments.server.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&json!({ "tests": tests })).unwrap_or_default()))?;
    } else {
        for test in &tests {
            let name = test["name"].as_str().unwrap_or_default();
            match test["passed"].as_bool() {
                Some(true) => print(&format!("ok      {name}\n"))?,
                _ => {
                    let file = test["file"].as_str().unwrap_or_default();
                    let message = test["message"].as_str().unwrap_or_default();
                    print(&format!("FAILED  {name}  ({file})\n        {message}\n"))?;
                }
            }
        }
        print(&format!("{} passed, {failed} failed\n", tests.len() - failed))?;
    }
    Ok(u8::from(failed > 0))
}

/// Shows what was applied, the newest first.
pub async fn log(arguments: LogArguments) -> Result<()> {
    let workspace = Workspace::connect(&arguments.server).await?;
    let sql = "SELECT plan::text, applied_at::text, role, message, changes::text, version::text FROM granary.applies \
               ORDER BY version DESC LIMIT $1::bigint";
    let applies = workspace.texts(sql, &[&arguments.limit]).await?;
    if arguments.server.json {
        let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u64>().ok());
        let shown = applies.iter().map(|apply| {
            json!({
                "plan": number(&apply[0]), "applied_at": apply[1], "role": apply[2], "message": apply[3],
                "changes": number(&apply[4]), "version": number(&apply[5]),
            })
        });
        let shown = json!({ "applies": Value::from_iter(shown) });
        return print(&format!("{}\n", serde_json::to_string_pretty(&shown).unwrap_or_default()));
    }
    if applies.is_empty() {
        return print(&format!("Nothing was applied to workspace {} yet.\n", workspace.name));
    }
    for apply in &applies {
        let text = |place: usize| apply[place].as_deref().unwrap_or_default();
        let plural = if text(4) == "1" { "" } else { "s" };
        print(&format!("plan {}  {}  {}  {} object{plural}\n", text(0), text(1), text(2), text(4)))?;
        if let Some(message) = &apply[3] {
            print(&format!("    {message}\n"))?;
        }
    }
    Ok(())
}

/// Writes the files of a plan into a folder, or a backup.
pub async fn restore(arguments: RestoreArguments) -> Result<()> {
    let folder = &arguments.folder;
    if let Some(from) = &arguments.backup {
        return super::backup::restore(from, arguments.id.as_deref(), folder, arguments.server.json).await;
    }
    check_empty(folder)?;
    let workspace = Workspace::connect(&arguments.server).await?;
    let sql = "SELECT path, text FROM granary.plan_files WHERE plan = coalesce($1::bigint, \
               (SELECT plan FROM granary.applies ORDER BY version DESC LIMIT 1)) ORDER BY path";
    let files = workspace.texts(sql, &[&arguments.plan]).await?;
    if files.is_empty() {
        let message = match arguments.plan {
            Some(plan) => format!("plan {plan} of workspace {} has no files", workspace.name),
            None => format!("nothing was applied to workspace {} yet", workspace.name),
        };
        return Err(Error::new(Kind::UndefinedObject, message).with_hint("granary log shows what was applied"));
    }
    for (number, file) in files.iter().enumerate() {
        let path = file[0].clone().filter(|path| !path.is_empty());
        let path = path.unwrap_or_else(|| format!("definitions_{}.sql", number + 1));
        write(folder, &path, file[1].as_deref().unwrap_or_default())?;
        print(&format!("{path}\n"))?;
    }
    Ok(())
}

/// Refuses to write into a folder that has anything in it.
fn check_empty(folder: &Path) -> Result<()> {
    if folder.exists() && std::fs::read_dir(folder).map_err(|error| io_error("read", folder, error))?.next().is_some() {
        let message = format!("\"{}\" is not empty", folder.display());
        return Err(Error::new(Kind::ObjectInUse, message).with_hint("name a new folder"));
    }
    Ok(())
}

/// Writes a file below a folder, and nowhere else.
fn write(folder: &Path, path: &str, text: &str) -> Result<()> {
    let relative = Path::new(path);
    let is_below = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if !is_below {
        return Err(Error::new(Kind::InvalidParameterValue, format!("\"{path}\" is not a path below the folder")));
    }
    let target = folder.join(relative);
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(|error| io_error("create the folder", parent, error))?;
    }
    std::fs::write(&target, text).map_err(|error| io_error("write", &target, error))
}

/// The files of a small repository that works as it is.
const TEMPLATE: [(&str, &str); 5] = [
    ("README.md", include_str!("template/README.md")),
    ("entities.sql", include_str!("template/entities.sql")),
    ("sources.sql", include_str!("template/sources.sql")),
    ("features.sql", include_str!("template/features.sql")),
    ("tests/spend.sql", include_str!("template/tests/spend.sql")),
];

/// Makes a small repository.
pub fn init(arguments: InitArguments) -> Result<()> {
    let folder = &arguments.folder;
    check_empty(folder)?;
    for (path, text) in TEMPLATE {
        write(folder, path, text)?;
    }
    let folder = folder.display();
    print(&format!(
        "A repository is in {folder}. Next: granary test {folder}; granary plan {folder}; granary apply {folder}\n"
    ))
}
