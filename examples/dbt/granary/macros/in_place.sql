{#
  dbt replaces a view or table by dropping the old one CASCADE, and a feature view over it goes along. These two keep
  the object: a view's query is replaced, a table's rows are, in one transaction, as long as its columns stay the same.
  They take effect in a project that says so: see macros/in_place.sql of the example.
#}
{% materialization view, adapter='postgres' %}
  {% do granary.drop_feature_object(this) %}
  {% set existing = load_cached_relation(this) %}
  {% if existing is not none and not existing.is_view %}{% do adapter.drop_relation(existing) %}{% endif %}
  {% set relation = this.incorporate(type='view') %}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {% call statement('main') %}
    create or replace view {{ relation }}
      {{ get_assert_columns_equivalent(sql) if config.get('contract').enforced }}
    as {{ sql }}
  {% endcall %}
  {% do apply_grants(relation, config.get('grants'), should_revoke=existing is not none) %}
  {% do persist_docs(relation, model) %}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}

{% materialization table, adapter='postgres' %}
  {% do granary.drop_feature_object(this) %}
  {% set existing = load_cached_relation(this) %}
  {% if existing is none or not existing.is_table or should_full_refresh() %}
    {{ return(dbt.materialization_table_default()) }}
  {% endif %}
  {% set made = make_temp_relation(this).incorporate(type='table') %}
  {% call statement('made') %}{{ create_table_as(True, made, sql) }}{% endcall %}
  {% set columns = adapter.get_columns_in_relation(made) %}
  {% if columns | map(attribute='quoted') | list != adapter.get_columns_in_relation(this) | map(attribute='quoted') | list
    or columns | map(attribute='data_type') | list != adapter.get_columns_in_relation(this) | map(attribute='data_type') | list %}
    {% do adapter.drop_relation(made) %}
    {{ return(dbt.materialization_table_default()) }}
  {% endif %}
  {% set relation = this.incorporate(type='table') %}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {% call statement('main') %}
    delete from {{ relation }};
    insert into {{ relation }} select * from {{ made }}
  {% endcall %}
  {% do adapter.drop_relation(made) %}
  {% do apply_grants(relation, config.get('grants'), should_revoke=true) %}
  {% do persist_docs(relation, model) %}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}
