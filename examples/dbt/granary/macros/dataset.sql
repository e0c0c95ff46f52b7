{#
  A dataset: the model's query, run once. A new version is made when the query has changed, or the definition of
  something that it reads, and with --full-refresh; other rows alone do not make one. In its config: options.
#}
{% materialization dataset, adapter='postgres' %}
  {% set relation = this.incorporate(type='materialized_view') %}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {% set was_there = granary.make_way(relation, 'dataset') %}
  {% set is_new = should_full_refresh() or not was_there or granary.dataset_is_outdated(relation, sql) %}
  {# It commits by itself, so the driver's transaction is ended first. #}
  {% do run_query('commit') %}
  {% call statement('main', auto_begin=False) %}
    create {{ 'or replace dataset' if is_new else 'dataset if not exists' }} {{ relation }}
      {{ granary.with_options(config.get('options')) }}
      {{ granary.comment(model.description) }}
    as {{ sql }}
  {% endcall %}
  {% do apply_grants(relation, config.get('grants'), should_revoke=was_there) %}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {% do run_query('commit') %}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{% macro dataset_is_outdated(relation, sql) %}
  {% set named = "schema = " ~ granary.quoted(relation.schema) ~ " and {} = " ~ granary.quoted(relation.identifier) %}
  {% set kept = run_query("select query, version from granary.datasets where is_newest and " ~ named.format('name')) %}
  {% if kept.rows[0][0].strip() != sql.strip() %}{{ return(true) }}{% endif %}
  {% set changed = run_query(
    "select count(*) from granary.dataset_inputs i join granary.feature_views v "
    ~ "on v.schema = i.object_schema and v.name = i.object and i.kind = 'feature view' and v.revision <> i.revision "
    ~ "where i.version = " ~ kept.rows[0][1] ~ " and i." ~ named.format('i.dataset')
  ) %}
  {{ return(changed.columns[0].values()[0] > 0) }}
{% endmacro %}
