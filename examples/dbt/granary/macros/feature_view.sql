{#
  A feature view: the model's query, and in its config
    entity        the name of one, or a list
    timestamp     the query's column with the event time
    features      a list, ["sum(amount) over (last '7 days') as name"]; without it the query's columns are the features
    aggregate_by  a secondary key
    windows       {month: "last '30 days'"}
    options       {schedule: '1 day', start: '2024-01-01'}: what stands in WITH
    refresh       false: leave it to others to materialize it
  The comments are the descriptions of the model and of its columns.
#}
{% macro feature_view_sql(relation, sql) -%}
  {%- set entities = config.require('entity') -%}
  {%- set entities = [entities] if entities is string else entities -%}
  {%- set features = [] -%}
  {%- for feature in config.get('features') or [] -%}
    {%- set name = modules.re.split('[ \n]as[ \n]', feature, flags=modules.re.IGNORECASE)[-1].strip() -%}
    {%- set column = model.columns.get(name) or model.columns.get(name.strip('"')) or {} -%}
    {%- do features.append(feature ~ granary.comment(column.get('description'))) -%}
  {%- endfor -%}
  {%- set windows = [] -%}
  {%- for name, window in (config.get('windows') or {}) | dictsort -%}
    {%- do windows.append(name ~ ' as (' ~ window ~ ')') -%}
  {%- endfor -%}
  create or replace feature view {{ relation }}
    entity {% for name in entities %}{{ granary.entity_name(name) }}{{ ', ' if not loop.last }}{% endfor %}
    timestamp {{ adapter.quote(config.require('timestamp')) }}
    {% if config.get('aggregate_by') %}aggregate by {{ adapter.quote(config.get('aggregate_by')) }}{% endif %}
    {% if features %}features ({{ features | join(', ') }}){% endif %}
    {% if windows %}window {{ windows | join(', ') }}{% endif %}
    {{ granary.with_options(config.get('options')) }}
    {{ granary.comment(model.description) }}
  as {{ sql }}
{%- endmacro %}

{% materialization feature_view, adapter='postgres' %}
  {% set relation = this.incorporate(type='view') %}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {% set was_there = granary.make_way(relation, 'feature view') %}
  {% call statement('main') %}{{ granary.feature_view_sql(relation, sql) }}{% endcall %}
  {% do apply_grants(relation, config.get('grants'), should_revoke=was_there) %}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {% if config.get('refresh', true) %}{% do granary.refresh(relation) %}{% endif %}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{# Materializes what is due; all of it anew with --full-refresh. Not in a transaction, so that of the driver is ended first. #}
{% macro refresh(relation) %}
  {% set due = run_query(
    "select trigger <> 'none' and (case when schedule is null then until is null else until is null or until < "
    ~ "to_timestamp(floor(extract(epoch from now() - data_delay) / extract(epoch from schedule)) "
    ~ "* extract(epoch from schedule)) end) from (select *, case when not offline then materialized_online_until "
    ~ "when not online then materialized_offline_until "
    ~ "else least(materialized_offline_until, materialized_online_until) end as until from granary.feature_views) v "
    ~ "where schema = " ~ granary.quoted(relation.schema) ~ " and name = " ~ granary.quoted(relation.identifier)
  ).columns[0].values()[0] %}
  {% if due or should_full_refresh() %}
    {% do run_query('commit') %}
    {% do run_query('refresh feature view ' ~ relation ~ (' overwrite' if should_full_refresh())) %}
  {% endif %}
{% endmacro %}
