#!/bin/sh
# Installs what the client tests need besides Rust: psycopg, a stand-in for S3, delta-rs, Polars and tecton-client in a venv, pgjdbc and a JDK from Debian.
# Usage: tests/clients/install.sh [folder]; default $GRANARY_TEST_CACHE, else target/test-tools
set -eu
cache=${1:-${GRANARY_TEST_CACHE:-target/test-tools}}
mkdir -p "$cache"

if ! "$cache/venv/bin/python" -c 'import psycopg; assert psycopg.__version__ == "3.3.9"' 2>/dev/null; then
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet 'psycopg[binary]==3.3.9'
fi

if ! "$cache/venv/bin/python" -c 'import boto3, moto.server; assert moto.__version__ == "5.2.5"' 2>/dev/null; then
    "$cache/venv/bin/pip" install --quiet 'moto[server]==5.2.5' 'boto3==1.44.5'
fi

if ! "$cache/venv/bin/python" -c 'import deltalake, polars; assert (deltalake.__version__, polars.__version__) == ("1.6.6", "2.1.0")' 2>/dev/null; then
    "$cache/venv/bin/pip" install --quiet 'deltalake==1.6.6' 'polars==2.1.0'
fi

if ! "$cache/venv/bin/python" -c 'import httpx, h2; from tecton_client.__about__ import __version__; assert __version__ == "0.4.0"' 2>/dev/null; then
    "$cache/venv/bin/pip" install --quiet 'tecton-client==0.4.0' 'httpx[http2]==0.28.1'
fi

missing=
command -v openssl >/dev/null || missing="$missing openssl"
command -v psql >/dev/null || missing="$missing postgresql-client"
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
