#!/bin/sh
# Installs what the client tests need besides Rust: clients in Python and dbt in two venvs, node-pg, pgjdbc and a JDK from Debian, PostgreSQL 15.
# Usage: tests/clients/install.sh [folder]; default $GRANARY_TEST_CACHE, else target/test-tools
set -eu
cache=${1:-${GRANARY_TEST_CACHE:-target/test-tools}}
mkdir -p "$cache"

# one at a time, of all tests that want it
exec 9>"$cache/lock"
command -v flock >/dev/null && flock 9

# python VENV IMPORT-CHECK PACKAGE...
python() {
    venv="$cache/$1"
    check=$2
    shift 2
    if ! "$venv/bin/python" -c "$check" 2>/dev/null; then
        [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet "$@"
    fi
}

python venv 'import psycopg; assert psycopg.__version__ == "3.3.9"' 'psycopg[binary]==3.3.9'
python venv 'import boto3, moto.server; assert moto.__version__ == "5.2.5"' 'moto[server]==5.2.5' 'boto3==1.44.5'
python venv 'import aiosmtpd; assert aiosmtpd.__version__ == "1.4.6"' 'aiosmtpd==1.4.6'
python venv 'import deltalake, polars; assert (deltalake.__version__, polars.__version__) == ("1.6.6", "2.1.0")' 'deltalake==1.6.6' 'polars==2.1.0'
python venv 'import httpx, h2; from tecton_client.__about__ import __version__; assert __version__ == "0.4.0"' 'tecton-client==0.4.0' 'httpx[http2]==0.28.1'
python venv 'import psycopg2, asyncpg, sqlalchemy; assert (psycopg2.__version__[:6], asyncpg.__version__, sqlalchemy.__version__) == ("2.9.13", "0.32.0", "2.1.9")' \
    'psycopg2-binary==2.9.13' 'asyncpg==0.32.0' 'sqlalchemy==2.1.9'
python venv 'import pyarrow, adbc_driver_postgresql, adbc_driver_flightsql; assert (adbc_driver_postgresql.__version__, adbc_driver_flightsql.__version__, pyarrow.__version__) == ("1.13.0", "1.13.0", "26.0.1")' \
    'adbc-driver-postgresql==1.13.0' 'adbc-driver-flightsql==1.13.0' 'pyarrow==26.0.1'
python dbt 'from importlib.metadata import version; assert (version("dbt-core"), version("dbt-postgres")) == ("1.11.16", "1.11.0")' \
    'dbt-core==1.11.16' 'dbt-postgres==1.11.0'

missing=
command -v openssl >/dev/null || missing="$missing openssl"
command -v psql >/dev/null && command -v pg_dump >/dev/null || missing="$missing postgresql-client"
[ -x /usr/lib/postgresql/15/bin/initdb ] || missing="$missing postgresql-15"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
command -v javac >/dev/null || missing="$missing default-jdk-headless"
[ -e /usr/share/java/postgresql.jar ] || missing="$missing libpostgresql-jdbc-java"
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "install these packages and try again:$missing" >&2
        exit 1
    fi
    # shellcheck disable=SC2086
    apt-get install -y --no-install-recommends $missing >/dev/null
fi

if ! grep -q '"version": "8.23.1"' "$cache/node/node_modules/pg/package.json" 2>/dev/null; then
    npm install --silent --no-audit --no-fund --prefix "$cache/node" pg@8.23.1
fi
