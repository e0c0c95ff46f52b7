#!/usr/bin/env bash
# Writes the rows that every PostgreSQL 15 has in its catalogs as tab-separated files, next to this script: facts that
# clients read and that types, operators and functions are resolved by. Usage: export.sh PSQL_OPTIONS…
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Texts of PostgreSQL itself, such as bodies and node trees, are left out; functions are named by number.
export_rows() {
  local relation="$1" order="$2"
  local columns selected
  columns="$(psql -At "${@:3}" -c "select string_agg(attname || ' ' || typname || case when attnotnull then '!' else '' end, ',' order by attnum)
    from pg_attribute a join pg_type t on t.oid = a.atttypid where attrelid = '$relation'::regclass and attnum > 0")"
  selected="$(psql -At "${@:3}" -c "select string_agg(case
      when typname = 'regproc' then attname || '::oid'
      when attname in ('proargdefaults', 'prosqlbody', 'typdefaultbin', 'collversion') then 'null'
      when attname = 'prosrc' then 'case when prolang = 14 then proname::text else prosrc end'
      else attname end, ',' order by attnum)
    from pg_attribute a join pg_type t on t.oid = a.atttypid where attrelid = '$relation'::regclass and attnum > 0")"
  { echo "$columns"; psql -At "${@:3}" -c "copy (select $selected from $relation where $order < 16384 order by $order) to stdout"; } > "$relation.tsv"
}

for relation in pg_am pg_amop pg_amproc pg_cast pg_conversion pg_language pg_opclass pg_operator pg_opfamily pg_proc \
  pg_ts_config pg_ts_dict pg_ts_parser pg_ts_template pg_type; do
  export_rows "$relation" oid "$@"
done
export_rows pg_aggregate aggfnoid::oid "$@"
export_rows pg_range rngtypid "$@"
{ echo 'word text!,catcode char!,barelabel bool!,catdesc text!,baredesc text!'; psql -At "$@" -c 'copy (select * from pg_get_keywords() order by word) to stdout'; } > pg_get_keywords.tsv
