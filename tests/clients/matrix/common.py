"""What the scripts in Python share: the types and statements that all clients try, and how answers are printed.

A script prints topics, each a line `## topic`, and below it what the client gave. It reaches the server by the
environment of libpq, PGHOST and so on. The test runs it against PostgreSQL and against Granary.
"""

import contextlib
import pathlib

FOLDER = pathlib.Path(__file__).parent


def _lines(name):
    lines = (FOLDER / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


# (type, literal without quotes)
VALUES = [tuple(line.split(" |", 1)) for line in _lines("types.txt")]
VALUES = [(type, literal.removeprefix(" ")) for type, literal in VALUES]
TYPES = list(dict.fromkeys(type for type, _ in VALUES))
ERRORS = _lines("errors.txt")

COLUMNS = [f"c{place}" for place in range(len(TYPES))]
KEPT = f"CREATE TABLE ws.kept (k integer, {', '.join(map(' '.join, zip(COLUMNS, TYPES)))})"


def _literal(text):
    return "'" + text.replace("'", "''") + "'"


def _row(number):
    type, literal = VALUES[number]
    return ", ".join(_literal(literal) if other == type else "NULL" for other in TYPES)


# every value in its own row and in the column of its type
ROWS = "INSERT INTO ws.kept VALUES " + ", ".join(f"({number}, {_row(number)})" for number in range(len(VALUES)))


def values():
    """Each value's number, its column of ws.kept, its type, and a literal."""
    for number, (type, literal) in enumerate(VALUES):
        yield number, COLUMNS[TYPES.index(type)], type, _literal(literal)


@contextlib.contextmanager
def topic(*words):
    """What is printed within belongs to one topic, and so does an error, which does not end the script."""
    print("##", *words)
    try:
        yield
    except Exception as error:
        print("raises", type(error).__name__, state(error))


def state(error):
    """The SQLSTATE, by whatever name a client gives it."""
    for holder in (error, getattr(error, "orig", None)):
        for name in ("sqlstate", "pgcode"):
            if getattr(holder, name, None):
                return getattr(holder, name)
    return None
