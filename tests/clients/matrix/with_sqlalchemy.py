"""SQLAlchemy 2, on psycopg2, psycopg 3 and asyncpg's kin: what its inspector finds, tables made and read by it, its ORM."""

import datetime
import decimal
import os
import sys
import uuid

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg

from common import topic

engine = sa.create_engine(f"postgresql+{sys.argv[1]}://", connect_args={"dbname": os.environ["PGDATABASE"]})

inspector = sa.inspect(engine)
with topic("the dialect"):
    print(engine.dialect.name, engine.dialect.default_schema_name, engine.connect().dialect.server_version_info[0])
with topic("names"):
    print(inspector.get_schema_names())
    print(sorted(inspector.get_table_names("ws")), inspector.get_view_names("ws"))
    print(inspector.get_materialized_view_names("ws"), sorted(inspector.get_sequence_names("ws")))
    print(inspector.has_table("orders", "ws"), inspector.has_table("nowhere", "ws"), inspector.get_table_names())
for table in ("customers", "orders", "lines", "totals", "newest"):
    with topic("columns of", table):
        for column in inspector.get_columns(table, "ws"):
            print({key: repr(value) if key == "type" else value for key, value in column.items()})
    with topic("keys and more of", table):
        print(inspector.get_pk_constraint(table, "ws"))
        print(inspector.get_foreign_keys(table, "ws"), sorted(map(str, inspector.get_unique_constraints(table, "ws"))))
    with topic("indexes of", table):
        print(*sorted(map(str, inspector.get_indexes(table, "ws"))), sep="\n")
    with topic("checks and comments of", table):
        print(inspector.get_check_constraints(table, "ws"), inspector.get_table_comment(table, "ws"))
for view in ("totals", "newest"):
    with topic("definition of", view):
        print(inspector.get_view_definition(view, "ws"))
with topic("types of the user"):
    print(inspector.get_enums("ws"), inspector.get_domains("ws") if hasattr(inspector, "get_domains") else None)
with topic("reflected"):
    reflected = sa.MetaData(schema="ws")
    reflected.reflect(engine)
    for table in reflected.sorted_tables:
        print(table.name, [column.name for column in table.primary_key], [repr(column.type) for column in table.columns])

metadata = sa.MetaData()
every = sa.Table(
    "every",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("small", sa.SmallInteger, server_default=sa.text("3")),
    sa.Column("big", sa.BigInteger, sa.Identity()),
    sa.Column("number", sa.Numeric(12, 3)),
    sa.Column("real", sa.REAL),
    sa.Column("double", sa.Double),
    sa.Column("text", sa.Text, nullable=False, unique=True),
    sa.Column("string", sa.String(10), index=True),
    sa.Column("flag", sa.Boolean, default=True),
    sa.Column("day", sa.Date),
    sa.Column("clock", sa.Time),
    sa.Column("moment", sa.DateTime),
    sa.Column("zoned", sa.DateTime(timezone=True)),
    sa.Column("bytes", sa.LargeBinary),
    sa.Column("uuid", sa.Uuid),
    sa.Column("json", sa.JSON),
    sa.Column("jsonb", pg.JSONB),
    sa.Column("numbers", pg.ARRAY(sa.Integer)),
    sa.Column("texts", pg.ARRAY(sa.Text)),
    comment="of every type",
)
moment = datetime.datetime(2024, 2, 29, 23, 59, 59, 123456)
full = {
    "id": 1, "big": 2**60, "number": decimal.Decimal("-1.250"), "real": 1.5, "double": 1e300, "text": "hä'\\", "string": "x",
    "day": moment.date(), "clock": moment.time(), "moment": moment, "zoned": moment.replace(tzinfo=datetime.timezone.utc),
    "bytes": b"\0\xff", "uuid": uuid.UUID(int=7), "json": {"a": [1, None]}, "jsonb": ["x", 1.5], "numbers": [1, 2],
    "texts": ["a", None, ""],
}  # fmt: skip
with topic("create_all"):
    metadata.create_all(engine)
    metadata.create_all(engine)
    print(sa.inspect(engine).has_table("every"), sorted(str(index["name"]) for index in sa.inspect(engine).get_indexes("every")))
with topic("insert and select"), engine.begin() as connection:
    print(connection.execute(every.insert().returning(every.c.id, every.c.small, every.c.flag), full).all())
    del full["big"]
    others = [full | {"id": number, "text": str(number), "uuid": None} for number in (2, 3)]
    print(connection.execute(every.insert(), others).rowcount)
    connection.execute(every.insert(), {"id": 4, "text": "of NULLs"})
for column in every.columns:
    with topic("column", column.name), engine.connect() as connection:
        print(connection.execute(sa.select(column).order_by(every.c.id)).scalars().all())
with topic("conditions"), engine.connect() as connection:
    for condition in (
        every.c.id.in_([1, 3]), every.c.text.like("%h%"), every.c.text.ilike("H%"), every.c.day == moment.date(),
        every.c.number.between(-2, 0), every.c.uuid.is_(None), every.c.zoned > moment.replace(tzinfo=datetime.timezone.utc),
        every.c.numbers.contains([1]), every.c.jsonb[0].astext == "x", sa.func.lower(every.c.string) == "x",
        sa.exists().where(every.c.id == 99), every.c.text == sa.any_(pg.array(["2", "3"])),
    ):  # fmt: skip
        try:
            print(connection.execute(sa.select(every.c.id).where(condition).order_by(every.c.id)).scalars().all())
        except sa.exc.DBAPIError as error:
            print(type(error).__name__, getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None))
            connection.rollback()
with topic("on conflict"), engine.begin() as connection:
    upsert = pg.insert(every).values(id=1, text="new")
    upsert = upsert.on_conflict_do_update(index_elements=["id"], set_={"text": upsert.excluded.text})
    print(connection.execute(upsert.returning(every.c.id, every.c.text)).all())
    print(connection.execute(pg.insert(every).values(id=1, text="x").on_conflict_do_nothing()).rowcount)
with topic("update and delete"), engine.begin() as connection:
    print(connection.execute(every.update().where(every.c.id > 1).values(string=every.c.string + "y")).rowcount)
    print(connection.execute(every.delete().where(every.c.id == 4).returning(every.c.text)).all())
with topic("a unique key"), engine.begin() as connection:
    connection.execute(every.insert(), {"id": 1, "text": "again"})
with topic("savepoints"), engine.begin() as connection:
    try:
        with connection.begin_nested():
            connection.execute(every.insert(), {"id": 9})
    except sa.exc.IntegrityError as error:
        print(type(error.orig).__name__)
    print(connection.execute(sa.select(sa.func.count()).select_from(every)).scalar())
with topic("isolation"), engine.connect() as connection:
    print(connection.get_isolation_level(), connection.default_isolation_level)
    print(engine.connect().execution_options(isolation_level="AUTOCOMMIT").get_isolation_level())
with topic("streamed"), engine.connect() as connection:
    result = connection.execution_options(yield_per=10).execute(sa.text("SELECT id FROM ws.orders ORDER BY id"))
    print([len(part) for part in result.partitions()])


class Base(orm.DeclarativeBase):
    pass


class Team(Base):
    __tablename__ = "teams"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)


class Player(Base):
    __tablename__ = "players"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]
    joined: orm.Mapped[datetime.datetime] = orm.mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    team_id: orm.Mapped[int]
    team: orm.Mapped[Team] = orm.relationship(primaryjoin="foreign(Player.team_id) == Team.id", backref="players")


with topic("the ORM"):
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add_all(Player(name=f"p{number}", team=team) for team in (Team(name="a"), Team(name="b")) for number in range(3))
        session.commit()
        found = session.scalars(sa.select(Player).join(Player.team).where(Team.name == "b").order_by(Player.id)).all()
        print([(player.id, player.name, player.team.name, player.joined is not None) for player in found])
        found[0].name = "renamed"
        session.delete(found[1])
        session.commit()
        count = sa.select(Team.name, sa.func.count(Player.id)).join(Player.team).group_by(Team.name).order_by(Team.name)
        print(session.execute(count).all(), session.get(Player, found[0].id).name)
        print(session.scalars(sa.select(Team).options(orm.selectinload(Team.players)).order_by(Team.id)).all()[0].players[0].name)
with topic("drop_all"):
    Base.metadata.drop_all(engine)
    metadata.drop_all(engine)
    print(sa.inspect(engine).get_table_names())
