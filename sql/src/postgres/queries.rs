//! Parts of queries that sqlparser's tree has no place for, said in words that it has: calls and names that nobody else
//! uses, which print and are read again as they are. `granary_postgres` knows them by the constants here.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::source::is_word;

/// `GROUP BY DISTINCT a`: a call without arguments before the keys.
pub const DISTINCT_SETS: &str = "distinct sets";
/// `USING (a) AS j`: `j` behind this, as the last of the columns.
pub const USING_ALIAS: &str = "using alias";
/// `ROWS FROM (f(x), g(y))`, and expressions in FROM that look like functions: a call with them.
pub const ROWS_FROM: &str = "rows from";
/// `EXCLUDE …` of a window's frame: a call of this and what is excluded, the first that is partitioned by.
pub const EXCLUDE: &str = "exclude ";
/// `SEARCH` and `CYCLE` of a recursive query: names of its columns that follow its own.
pub const SEARCH_DEPTH: &str = "search depth first by";
pub const SEARCH_BREADTH: &str = "search breadth first by";
pub const SEARCH_SET: &str = "search set";
pub const CYCLE: &str = "cycle columns";
pub const CYCLE_SET: &str = "cycle set";
pub const CYCLE_TO: &str = "cycle to";
pub const CYCLE_DEFAULT: &str = "cycle default";
pub const CYCLE_USING: &str = "cycle using";
/// `SET a[1] = x`: `a` becomes a call with itself, the value, and the subscripts, each a lower and an upper bound and
/// whether it is a slice.
pub const ASSIGN: &str = "assign subscript";
/// `VARIADIC a` among arguments: a call with it.
pub const VARIADIC: &str = "variadic argument";

/// The relation, and its column, that a `SELECT` of nothing reads.
const ONE_ROW: &str = "one row";

/// What may stand behind the columns of a SELECT, besides FROM.
const BEHIND_COLUMNS: [&str; 12] =
    ["where", "group", "having", "window", "union", "intersect", "except", "order", "limit", "offset", "fetch", "for"];

/// Functions of the grammar that may stand in FROM; from the twelfth on without parentheses.
const IN_FROM: [&str; 22] = [
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "cast",
    "trim",
    "extract",
    "position",
    "overlay",
    "substring",
    "normalize",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "current_role",
    "current_user",
    "session_user",
    "user",
    "current_catalog",
    "current_schema",
];

struct Tokens<'t> {
    tokens: &'t mut Vec<TokenWithSpan>,
}

pub fn adapt(tokens: &mut Vec<TokenWithSpan>) {
    if tokens.first().is_some_and(|first| is_word(&first.token, "grant") || is_word(&first.token, "revoke")) {
        return;
    }
    let seen = |word: &str| tokens.iter().any(|token| is_word(&token.token, word));
    let (has_from, has_using) = (seen("from") || seen("join"), seen("using"));
    let (has_group, has_exclude, has_with) = (seen("group"), seen("exclude"), seen("with") || seen("recursive"));
    let has_bracket = seen("set") && tokens.iter().any(|token| token.token == Token::LBracket);
    let has_table = seen("table");
    let (has_locks, has_only, has_variadic) = (seen("for"), seen("only"), seen("variadic"));
    let has_fetch = seen("fetch");
    let is_query = !["create", "alter", "drop", "comment"]
        .iter()
        .any(|word| tokens.first().is_some_and(|first| is_word(&first.token, word)));
    let mut tokens = Tokens { tokens };
    tokens.each_word("select", Tokens::adapt_nothing);
    if has_only {
        tokens.each_word("only", Tokens::drop_only);
    }
    if has_locks {
        tokens.each_word("for", Tokens::adapt_locks);
    }
    if has_fetch {
        tokens.each_word("fetch", Tokens::adapt_fetch);
    }
    if has_variadic && is_query {
        tokens.each_word("variadic", Tokens::adapt_variadic);
    }
    if has_table {
        tokens.each_word("table", Tokens::adapt_table);
    }
    if has_using {
        tokens.each_word("using", Tokens::adapt_using);
    }
    if has_group {
        tokens.each_word("group", Tokens::adapt_group_by);
    }
    if has_exclude {
        tokens.each_word("exclude", Tokens::adapt_exclude);
    }
    if has_from {
        tokens.each_word("rows", Tokens::adapt_rows_from);
        tokens.each_word("as", Tokens::name_declared);
        for word in ["from", "join", "lateral"] {
            tokens.each_word(word, Tokens::adapt_from_value);
        }
        tokens.each(|token| *token == Token::Comma, Tokens::adapt_from_value);
    }
    if has_with {
        tokens.each_word("recursive", Tokens::adapt_recursive_view);
        tokens.each_word("search", Tokens::adapt_search);
        tokens.each_word("cycle", Tokens::adapt_cycle);
    }
    if has_bracket {
        tokens.each_word("set", Tokens::adapt_assignments);
    }
}

fn plain(value: &str, keyword: Keyword) -> Token {
    Token::Word(Word { value: value.to_string(), quote_style: None, keyword })
}

fn quoted(value: &str) -> Token {
    Token::make_word(value, Some('"'))
}

impl Tokens<'_> {
    /// Calls `adapt` wherever a word stands, from the back.
    fn each_word(&mut self, word: &str, adapt: fn(&mut Self, usize)) {
        self.each(|token| is_word(token, word), adapt);
    }

    fn each(&mut self, is_one: impl Fn(&Token) -> bool, adapt: fn(&mut Self, usize)) {
        let mut at = self.tokens.len();
        while at > 0 {
            at -= 1;
            if self.tokens.get(at).is_some_and(|token| is_one(&token.token)) {
                adapt(self, at);
            }
        }
    }

    /// The next token that is not blank.
    fn next(&self, at: usize) -> Option<usize> {
        (at + 1..self.tokens.len()).find(|next| !matches!(self.tokens[*next].token, Token::Whitespace(_)))
    }

    fn before(&self, at: usize) -> Option<usize> {
        (0..at).rev().find(|before| !matches!(self.tokens[*before].token, Token::Whitespace(_)))
    }

    fn is(&self, at: Option<usize>, word: &str) -> bool {
        at.is_some_and(|at| is_word(&self.tokens[at].token, word))
    }

    fn is_sign(&self, at: Option<usize>, sign: &Token) -> bool {
        at.is_some_and(|at| self.tokens[at].token == *sign)
    }

    /// Where the parenthesis or bracket that opens at `open` closes.
    fn close(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(open) {
            match token.token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Where the parenthesis opens that closes at `close`, or, for any other token, the one around it.
    fn open(&self, close: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for at in (0..close).rev() {
            match self.tokens[at].token {
                Token::RParen | Token::RBracket => depth += 1,
                Token::LParen | Token::LBracket if depth == 0 => return Some(at),
                Token::LParen | Token::LBracket => depth -= 1,
                _ => {}
            }
        }
        None
    }

    /// The first at or behind `start` that closes what is around it, or stands in no parentheses of its own and `stops`.
    fn end_of(&self, start: usize, stops: impl Fn(usize) -> bool) -> Option<usize> {
        let mut depth = 0_usize;
        for at in start..self.tokens.len() {
            match self.tokens[at].token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket if depth == 0 => return Some(at),
                Token::RParen | Token::RBracket => depth -= 1,
                _ if depth == 0 && stops(at) => return Some(at),
                _ => {}
            }
        }
        None
    }

    fn replace(&mut self, from: usize, to: usize, said: Vec<Token>) {
        let span =
            self.tokens.get(from).or(self.tokens.last()).map_or_else(sqlparser::tokenizer::Span::empty, |at| at.span);
        let said = said.into_iter().map(|token| TokenWithSpan { token, span });
        self.tokens.splice(from..to, said);
    }

    /// `ORDER BY a USING <` is ascending; `USING (a) AS j` keeps its alias among the columns.
    fn adapt_using(&mut self, at: usize) {
        let Some(next) = self.next(at) else { return };
        match self.tokens[next].token {
            Token::Lt => self.replace(at, next + 1, vec![plain("ASC", Keyword::ASC)]),
            Token::Gt => self.replace(at, next + 1, vec![plain("DESC", Keyword::DESC)]),
            Token::Word(_) if self.is(Some(next), "operator") => {
                let open = self.next(next);
                let close = open.and_then(|open| self.close(open));
                let sign = close.and_then(|close| self.before(close)).map(|sign| self.tokens[sign].token.clone());
                match (close, sign) {
                    (Some(close), Some(Token::Lt)) => {
                        self.replace(at, close + 1, vec![plain("ASC", Keyword::ASC)]);
                    }
                    (Some(close), Some(Token::Gt)) => {
                        self.replace(at, close + 1, vec![plain("DESC", Keyword::DESC)]);
                    }
                    _ => {}
                }
            }
            Token::LParen => {
                let Some(close) = self.close(next) else { return };
                // or else it is a query that rows are deleted by
                let is_list = self.tokens[next + 1..close]
                    .iter()
                    .all(|token| matches!(token.token, Token::Word(_) | Token::Comma | Token::Whitespace(_)));
                let of = self.next(close).filter(|_| is_list);
                let name = of.and_then(|of| self.next(of));
                if let (true, Some(name)) = (self.is(of, "as"), name)
                    && matches!(self.tokens[name].token, Token::Word(_))
                {
                    let alias = self.tokens[name].token.clone();
                    let said = vec![Token::Comma, quoted(USING_ALIAS), Token::Period, alias, Token::RParen];
                    self.replace(close, name + 1, said);
                }
            }
            _ => {}
        }
    }

    /// `SELECT` of nothing, which sqlparser reads before FROM alone, is one of one row.
    fn adapt_nothing(&mut self, at: usize) {
        let next = self.next(at);
        let is_end = next.is_none_or(|next| matches!(self.tokens[next].token, Token::RParen | Token::SemiColon));
        if !is_end && !BEHIND_COLUMNS.iter().any(|word| self.is(next, word)) {
            return;
        }
        let row = [plain("VALUES", Keyword::VALUES), Token::LParen, plain("NULL", Keyword::NULL), Token::RParen];
        let name = [plain("AS", Keyword::AS), quoted(ONE_ROW), Token::LParen, quoted(ONE_ROW), Token::RParen];
        let mut said = vec![plain("FROM", Keyword::FROM), Token::LParen];
        said.extend(row);
        said.push(Token::RParen);
        said.extend(name);
        // they end where the word does, so that the text around them stays what it is
        let span = self.tokens[at].span;
        self.tokens.splice(at + 1..at + 1, said.into_iter().map(|token| TokenWithSpan { token, span }));
    }

    /// Tables have no others below them: `ONLY t`, `ONLY (t)`.
    fn drop_only(&mut self, at: usize) {
        let before = self.before(at);
        if ["read", "row", "rows"].iter().any(|word| self.is(before, word)) {
            return;
        }
        let Some(next) = self.next(at) else { return };
        if self.tokens[next].token == Token::LParen
            && let Some(close) = self.close(next)
        {
            self.tokens.remove(close);
            self.tokens.remove(next);
        }
        self.tokens.remove(at);
    }

    /// Locks of all strengths are one of two, name one table, and stand behind limits.
    fn adapt_locks(&mut self, at: usize) {
        let Some(mut kind) = self.next(at) else { return };
        if self.is(Some(kind), "no") && self.is(self.next(kind), "key") {
            let update = self.next(kind).and_then(|key| self.next(key)).unwrap_or(kind);
            self.tokens.drain(kind..update);
        } else if self.is(Some(kind), "key") {
            let share = self.next(kind).unwrap_or(kind);
            self.tokens.drain(kind..share);
        }
        if !self.is(Some(kind), "update") && !self.is(Some(kind), "share") {
            return;
        }
        let mut end = kind + 1;
        if self.is(self.next(kind), "of") {
            kind = self.next(kind).unwrap_or(kind);
            let Some(name) = self.next(kind) else { return };
            end = name + 1;
            while let Some(dot) = self.next(end - 1).filter(|dot| self.tokens[*dot].token == Token::Period) {
                end = self.next(dot).unwrap_or(dot) + 1;
            }
            let mut last = end;
            while let Some(comma) = self.next(last - 1).filter(|comma| self.tokens[*comma].token == Token::Comma) {
                last = self.next(comma).unwrap_or(comma) + 1;
            }
            self.tokens.drain(end..last);
        }
        let next = self.next(end - 1);
        if self.is(next, "nowait") {
            end = next.unwrap_or(end) + 1;
        } else if self.is(next, "skip") {
            end = next.and_then(|skip| self.next(skip)).unwrap_or(end) + 1;
        }
        let next = self.next(end - 1);
        if !["limit", "offset", "fetch"].iter().any(|word| self.is(next, word)) {
            return;
        }
        let behind = self.end_of(end, |at| self.is(Some(at), "for")).unwrap_or(self.tokens.len());
        let locks: Vec<TokenWithSpan> = self.tokens[at..end].to_vec();
        let space =
            TokenWithSpan { token: Token::Whitespace(sqlparser::tokenizer::Whitespace::Space), span: locks[0].span };
        let locks = std::iter::once(space.clone()).chain(locks).chain([space]);
        self.tokens.splice(behind..behind, locks);
        self.tokens.drain(at..end);
    }

    /// `FETCH FIRST (n) ROWS ONLY` is `LIMIT (n)`.
    fn adapt_fetch(&mut self, at: usize) {
        let open = self.next(at).and_then(|first| self.next(first));
        let Some(open) = open.filter(|open| self.is_sign(Some(*open), &Token::LParen)) else { return };
        let Some(close) = self.close(open) else { return };
        let rows = self.next(close);
        let only = rows.and_then(|rows| self.next(rows));
        if let (true, Some(only)) = (self.is(only, "only"), only) {
            self.tokens.drain(close + 1..=only);
            self.replace(at, open, vec![plain("LIMIT", Keyword::LIMIT)]);
        }
    }

    /// `f(a, VARIADIC b)`: the last argument is the argument of a call of a name that nobody else uses.
    fn adapt_variadic(&mut self, at: usize) {
        let before = self.before(at);
        if !self.is_sign(before, &Token::LParen) && !self.is_sign(before, &Token::Comma) {
            return;
        }
        if let Some(end) = self.end_of(at + 1, |end| self.is(Some(end), "order")) {
            self.replace(end, end, vec![Token::RParen]);
            self.replace(at, at + 1, vec![quoted(VARIADIC), Token::LParen]);
        }
    }

    /// `TABLE t` inside of a query is `SELECT * FROM t`.
    fn adapt_table(&mut self, at: usize) {
        let before = self.before(at);
        let is_inserted = self.tokens.first().is_some_and(|first| is_word(&first.token, "insert"));
        let begins_query = is_inserted
            || self.is_sign(before, &Token::LParen)
            || ["union", "intersect", "except", "all", "distinct", "as"].iter().any(|word| self.is(before, word));
        let is_named = self.next(at).is_some_and(|name| matches!(self.tokens[name].token, Token::Word(_)));
        if begins_query && is_named {
            let said = vec![plain("SELECT", Keyword::SELECT), Token::Mul, plain("FROM", Keyword::FROM)];
            self.replace(at, at + 1, said);
        }
    }

    fn adapt_group_by(&mut self, at: usize) {
        let Some(by) = self.next(at).filter(|by| self.is(Some(*by), "by")) else { return };
        let Some(next) = self.next(by) else { return };
        if self.is(Some(next), "distinct") {
            let said = vec![quoted(DISTINCT_SETS), Token::LParen, Token::RParen, Token::Comma];
            self.replace(next, next + 1, said);
        } else if self.is(Some(next), "all") {
            self.tokens.remove(next);
        }
    }

    fn adapt_exclude(&mut self, at: usize) {
        let Some(first) = self.next(at) else { return };
        let (what, end) = if self.is(Some(first), "group") {
            ("group", first)
        } else if self.is(Some(first), "ties") {
            ("ties", first)
        } else if self.is(Some(first), "current") && self.is(self.next(first), "row") {
            ("current row", self.next(first).unwrap_or(first))
        } else if self.is(Some(first), "no") && self.is(self.next(first), "others") {
            ("no others", self.next(first).unwrap_or(first))
        } else {
            return;
        };
        let (Some(open), true) = (self.open(at), self.is_sign(self.next(end), &Token::RParen)) else { return };
        self.tokens.drain(at..=end);
        if what == "no others" {
            return;
        }
        let call = vec![quoted(&format!("{EXCLUDE}{what}")), Token::LParen, Token::RParen];
        // a window's name may stand before all clauses
        let clauses = ["partition", "order", "range", "rows", "groups"];
        let mut start = self.next(open);
        if !clauses.iter().any(|clause| self.is(start, clause)) {
            start = start.and_then(|start| self.next(start));
        }
        let Some(start) = start else { return };
        if self.is(Some(start), "partition") {
            let by = self.next(start).unwrap_or(start);
            self.replace(by + 1, by + 1, [call, vec![Token::Comma]].concat());
        } else {
            let said = [vec![plain("PARTITION", Keyword::PARTITION), plain("BY", Keyword::BY)], call].concat();
            self.replace(start, start, said);
        }
    }

    fn adapt_rows_from(&mut self, at: usize) {
        let from = self.next(at);
        let open = from.and_then(|from| self.next(from));
        if self.is(from, "from") && self.is_sign(open, &Token::LParen) {
            let from = from.unwrap_or(at);
            self.replace(at, from + 1, vec![quoted(ROWS_FROM)]);
        }
    }

    /// `f() AS (a int)` has the name of the function.
    fn name_declared(&mut self, at: usize) {
        let (before, open) = (self.before(at), self.next(at));
        if !self.is_sign(before, &Token::RParen) || !self.is_sign(open, &Token::LParen) {
            return;
        }
        let column = open.and_then(|open| self.next(open));
        let data_type = column.and_then(|column| self.next(column));
        let is_word_at = |at: Option<usize>| at.is_some_and(|at| matches!(self.tokens[at].token, Token::Word(_)));
        let begins_query = ["select", "with", "values", "table", "insert", "update", "delete", "not", "materialized"]
            .iter()
            .any(|word| self.is(column, word));
        if begins_query || !is_word_at(column) || !is_word_at(data_type) {
            return;
        }
        let name = before.and_then(|close| self.open(close)).and_then(|open| self.before(open));
        if let Some(name) = name.filter(|name| is_word_at(Some(*name))) {
            let name = self.tokens[name].token.clone();
            self.replace(at + 1, at + 1, vec![Token::Whitespace(sqlparser::tokenizer::Whitespace::Space), name]);
        }
    }

    /// `FROM coalesce(1, 2)`, `FROM current_date`.
    fn adapt_from_value(&mut self, at: usize) {
        let Some(first) = self.next(at) else { return };
        if !IN_FROM.iter().any(|word| self.is(Some(first), word)) || !self.is_in_from(at) {
            return;
        }
        let open = self.next(first).filter(|open| self.is_sign(Some(*open), &Token::LParen));
        let is_value = IN_FROM[11..].iter().any(|word| self.is(Some(first), word));
        if open.is_none() && !is_value {
            return;
        }
        let end = open.and_then(|open| self.close(open)).unwrap_or(first);
        self.replace(end + 1, end + 1, vec![Token::RParen]);
        self.replace(first, first, vec![quoted(ROWS_FROM), Token::LParen]);
    }

    /// Whether a factor of FROM follows; behind a comma this depends on the clause that it is in.
    fn is_in_from(&self, at: usize) -> bool {
        let is_from = self.is(Some(at), "from");
        // EXTRACT(a FROM b) and its like
        let is_of_call = |open: usize| {
            let name = self.before(open);
            ["extract", "trim", "substring", "overlay", "position"].iter().any(|word| self.is(name, word))
        };
        if is_from {
            let is_distinct = self.is(self.before(at), "distinct");
            return !is_distinct && !self.open(at).is_some_and(is_of_call);
        }
        if !self.is_sign(Some(at), &Token::Comma) {
            return true;
        }
        const CLAUSES: [&str; 15] = [
            "select",
            "where",
            "group",
            "order",
            "having",
            "window",
            "by",
            "values",
            "set",
            "returning",
            "limit",
            "on",
            "over",
            "with",
            "using",
        ];
        let mut depth = 0_usize;
        for before in (0..at).rev() {
            match &self.tokens[before].token {
                Token::RParen | Token::RBracket => depth += 1,
                Token::LParen | Token::LBracket if depth == 0 => return false,
                Token::LParen | Token::LBracket => depth -= 1,
                token if depth == 0 && is_word(token, "from") => return true,
                token if depth == 0 && CLAUSES.iter().any(|word| is_word(token, word)) => return false,
                _ => {}
            }
        }
        false
    }

    /// `CREATE RECURSIVE VIEW v (a) AS query` is `CREATE VIEW v AS WITH RECURSIVE v (a) AS (query) SELECT a FROM v`.
    fn adapt_recursive_view(&mut self, at: usize) {
        let Some(view) = self.next(at).filter(|view| self.is(Some(*view), "view")) else { return };
        let Some(open) = (view..self.tokens.len()).find(|at| self.tokens[*at].token == Token::LParen) else { return };
        let (Some(close), Some(name)) = (self.close(open), self.before(open)) else { return };
        let Some(of) = self.next(close).filter(|of| self.is(Some(*of), "as")) else { return };
        let token = |at: &TokenWithSpan| at.token.clone();
        let name = token(&self.tokens[name]);
        let columns: Vec<Token> = self.tokens[open + 1..close].iter().map(token).collect();
        let space = || Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
        let end = self.tokens.len();
        let mut behind = vec![Token::RParen, plain("SELECT", Keyword::SELECT)];
        behind.extend(columns.clone());
        behind.extend([plain("FROM", Keyword::FROM), space(), name.clone()]);
        self.replace(end, end, behind);
        let mut with =
            vec![plain("AS", Keyword::AS), plain("WITH", Keyword::WITH), plain("RECURSIVE", Keyword::RECURSIVE)];
        with.extend([name, Token::LParen]);
        with.extend(columns);
        with.extend([Token::RParen, plain("AS", Keyword::AS), Token::LParen]);
        self.replace(open, of + 1, with);
        self.tokens.remove(at);
    }

    /// Adds names to the columns of the query of WITH whose parentheses close before `at`.
    fn add_columns(&mut self, at: usize, end: usize, names: Vec<Token>) {
        let Some(close) = self.before(at).filter(|close| self.is_sign(Some(*close), &Token::RParen)) else { return };
        let Some(open) = self.open(close) else { return };
        let mut of = self.before(open);
        while self.is(of, "materialized") || self.is(of, "not") {
            of = of.and_then(|of| self.before(of));
        }
        let Some(of) = of.filter(|of| self.is(Some(*of), "as")) else { return };
        let Some(last) = self.before(of) else { return };
        let mut said = Vec::new();
        for name in names {
            said.extend([Token::Comma, name]);
        }
        self.tokens.drain(at..end);
        if self.tokens[last].token == Token::RParen {
            self.replace(last, last, said);
        } else {
            said[0] = Token::LParen;
            said.push(Token::RParen);
            self.replace(last + 1, last + 1, said);
        }
    }

    /// The names from `at` on, and where they end.
    fn names(&self, mut at: usize) -> (Vec<Token>, usize) {
        let mut names = Vec::new();
        while let Some(token) = self.tokens.get(at).filter(|token| matches!(token.token, Token::Word(_))) {
            names.push(token.token.clone());
            let Some(next) = self.next(at) else { return (names, self.tokens.len()) };
            if self.tokens[next].token != Token::Comma {
                return (names, next);
            }
            at = self.next(next).unwrap_or(self.tokens.len());
        }
        (names, at)
    }

    fn adapt_search(&mut self, at: usize) {
        let Some(kind) = self.next(at) else { return };
        let marker = if self.is(Some(kind), "depth") {
            SEARCH_DEPTH
        } else if self.is(Some(kind), "breadth") {
            SEARCH_BREADTH
        } else {
            return;
        };
        let first = self.next(kind);
        let by = first.and_then(|first| self.next(first));
        let Some(start) = by.filter(|by| self.is(Some(*by), "by")).and_then(|by| self.next(by)) else { return };
        let (columns, set) = self.names(start);
        if set >= self.tokens.len() || !self.is(Some(set), "set") {
            return;
        }
        let Some(name) = self.next(set) else { return };
        let mut names = vec![quoted(marker)];
        names.extend(columns);
        names.extend([quoted(SEARCH_SET), self.tokens[name].token.clone()]);
        self.add_columns(at, name + 1, names);
    }

    fn adapt_cycle(&mut self, at: usize) {
        let Some(start) = self.next(at) else { return };
        let (columns, set) = self.names(start);
        if set >= self.tokens.len() || !self.is(Some(set), "set") {
            return;
        }
        let Some(mark) = self.next(set) else { return };
        let mut names = vec![quoted(CYCLE)];
        names.extend(columns);
        names.extend([quoted(CYCLE_SET), self.tokens[mark].token.clone()]);
        let mut next = self.next(mark);
        if self.is(next, "to") {
            let value = |from: usize, word: &str| {
                let end = (from + 1..self.tokens.len()).find(|end| is_word(&self.tokens[*end].token, word))?;
                let text: String = self.tokens[from + 1..end].iter().map(|token| token.token.to_string()).collect();
                Some((text.trim().to_owned(), end))
            };
            let Some((to, default)) = next.and_then(|next| value(next, "default")) else { return };
            let Some((otherwise, using)) = value(default, "using") else { return };
            names.extend([quoted(CYCLE_TO), quoted(&to), quoted(CYCLE_DEFAULT), quoted(&otherwise)]);
            next = Some(using);
        }
        let Some(path) = next.filter(|using| self.is(Some(*using), "using")).and_then(|using| self.next(using)) else {
            return;
        };
        names.extend([quoted(CYCLE_USING), self.tokens[path].token.clone()]);
        self.add_columns(at, path + 1, names);
    }

    /// `SET a[1] = x, b = y`
    fn adapt_assignments(&mut self, at: usize) {
        let mut start = self.next(at);
        let mut made: Vec<Token> = Vec::new();
        // the columns that have been assigned to in parts, and where their calls stand
        let mut parts: Vec<(Token, Vec<Token>)> = Vec::new();
        let mut has_parts = false;
        let end = loop {
            let Some(first) = start else { return };
            let end = self.end_of_assignment(first);
            let token = |at: usize| self.tokens[at].token.clone();
            let bracket = self.next(first).filter(|bracket| self.is_sign(Some(*bracket), &Token::LBracket));
            match bracket {
                Some(bracket) => {
                    let Some((subscripts, equal)) = self.subscripts(bracket) else { return };
                    has_parts = true;
                    let value: Vec<Token> = (equal + 1..end).map(token).collect();
                    let column = token(first);
                    let known = parts.iter().position(|(other, _)| *other == column);
                    let before = known.map_or_else(|| vec![column.clone()], |known| parts[known].1.clone());
                    let mut call = vec![quoted(ASSIGN), Token::LParen];
                    call.extend(before);
                    call.push(Token::Comma);
                    call.extend(value);
                    call.extend(subscripts);
                    call.push(Token::RParen);
                    match known {
                        Some(known) => parts[known].1 = call,
                        None => parts.push((column, call)),
                    }
                }
                None => {
                    if !made.is_empty() {
                        made.push(Token::Comma);
                    }
                    made.extend((first..end).map(token));
                }
            }
            if self.tokens.get(end).is_some_and(|token| token.token == Token::Comma) {
                start = self.next(end);
            } else {
                break end;
            }
        };
        if !has_parts {
            return;
        }
        for (column, call) in parts {
            if !made.is_empty() {
                made.push(Token::Comma);
            }
            made.extend([column, Token::Eq]);
            made.extend(call);
        }
        made.push(Token::Whitespace(sqlparser::tokenizer::Whitespace::Space));
        if let Some(first) = self.next(at) {
            self.replace(first, end, made);
        }
    }

    /// The bounds of subscripts as arguments, and where the equals sign behind them stands.
    fn subscripts(&self, mut bracket: usize) -> Option<(Vec<Token>, usize)> {
        let mut arguments = Vec::new();
        loop {
            let close = self.close(bracket)?;
            let inside: Vec<Token> = self.tokens[bracket + 1..close].iter().map(|token| token.token.clone()).collect();
            let mut depth = 0_usize;
            let colon = inside.iter().position(|token| {
                match token {
                    Token::LParen | Token::LBracket => depth += 1,
                    Token::RParen | Token::RBracket => depth -= 1,
                    _ => {}
                }
                depth == 0 && *token == Token::Colon
            });
            let bound = |tokens: &[Token]| match tokens.iter().all(|token| matches!(token, Token::Whitespace(_))) {
                true => vec![plain("NULL", Keyword::NULL)],
                false => tokens.to_vec(),
            };
            let (lower, upper, is_slice) = match colon {
                Some(colon) => (bound(&inside[..colon]), bound(&inside[colon + 1..]), "true"),
                None => (bound(&[]), inside, "false"),
            };
            for part in [lower, upper, vec![Token::make_word(is_slice, None)]] {
                arguments.push(Token::Comma);
                arguments.extend(part);
            }
            let next = self.next(close)?;
            match self.tokens[next].token {
                Token::LBracket => bracket = next,
                Token::Eq => return Some((arguments, next)),
                _ => return None,
            }
        }
    }

    /// Where the value of an assignment that begins at `start` ends.
    fn end_of_assignment(&self, start: usize) -> usize {
        let ends = |at: usize| {
            let is_distinct = self.is(Some(at), "from") && self.is(self.before(at), "distinct");
            self.is_sign(Some(at), &Token::Comma)
                || !is_distinct && ["from", "where", "returning"].iter().any(|word| self.is(Some(at), word))
        };
        self.end_of(start, ends).unwrap_or(self.tokens.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::Statement;

    fn printed(text: &str) -> String {
        let parsed = crate::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}")).remove(0);
        match parsed.statement {
            Statement::Query(query) => query.ast.to_string(),
            Statement::Postgres(statement) => statement.ast.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// What is said in other words prints so that it is read again as the same.
    #[test]
    fn marks_go_round() {
        for text in [
            "SELECT a FROM t GROUP BY DISTINCT rollup (a), a",
            "SELECT a FROM t ORDER BY a USING >, b USING OPERATOR(pg_catalog.<)",
            "SELECT sum(a) OVER (w ROWS 1 PRECEDING EXCLUDE TIES) FROM t WINDOW w AS (PARTITION BY a)",
            "SELECT sum(a) OVER (PARTITION BY a ORDER BY b GROUPS 1 PRECEDING EXCLUDE CURRENT ROW) FROM t",
            "SELECT * FROM a JOIN b USING (c, d) AS j",
            "SELECT * FROM ROWS FROM (f(1), g(2)) WITH ORDINALITY AS r (a, b, c), coalesce(1, 2), current_date AS d",
            "SELECT * FROM f(1) AS (a int, b text)",
            "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a FROM t) SEARCH BREADTH FIRST BY a SET o SELECT 1 FROM t",
            "WITH RECURSIVE t (a) AS (SELECT 1 UNION ALL SELECT a FROM t) CYCLE a SET c TO 'y' DEFAULT 'n' USING p TABLE t",
            "CREATE RECURSIVE VIEW v (a) AS SELECT 1 UNION ALL SELECT a + 1 FROM v WHERE a < 5",
            "UPDATE t SET a[1] = 5, a[2:3] = '{1}', d['k'] = '1', b = 2 WHERE c",
            "SELECT a BETWEEN SYMMETRIC 1 AND 2, a ISNULL AS n, OPERATOR(pg_catalog.-) a, a == b, - - a, !! a FROM t",
            "SELECT a LIKE ANY (ARRAY['x']), a NOT ILIKE ALL (SELECT b), a LIKE b ESCAPE c, a SIMILAR TO b ESCAPE c FROM t",
            "SELECT trim(LEADING FROM a), trim(TRAILING 'x'), trim(a FROM b), substring(a SIMILAR b ESCAPE c) FROM t",
            "SELECT (VALUES (1)), (TABLE t), (a).order, f(1, VARIADIC a), regclass 'x', pg_catalog.int4 '1' FROM t",
            "SELECT 1 FROM ONLY t FOR NO KEY UPDATE OF a, b SKIP LOCKED LIMIT 1",
            "SELECT 1 FETCH FIRST (1 + 1) ROWS ONLY",
        ] {
            let once = printed(text);
            assert_eq!(printed(&once), once, "{text}");
        }
    }
}
