{#
  A feature service: the model is the list of its members, as in CREATE FEATURE SERVICE, each a ref():
    {{ ref('spend') }} (spend_7d, orders_7d), {{ ref('profile') }} as who
  In its config: options, {cache: '60 s'}.
#}
{% materialization feature_service, adapter='postgres' %}
  {% set relation = this.incorporate(type='view') %}
  {{ run_hooks(pre_hooks, inside_transaction=False) }}
  {{ run_hooks(pre_hooks, inside_transaction=True) }}
  {% set was_there = granary.make_way(relation, 'feature service') %}
  {% call statement('main') %}
    create or replace feature service {{ relation }}
      {{ granary.with_options(config.get('options')) }}
      {{ granary.comment(model.description) }}
    as {{ sql }}
  {% endcall %}
  {% do apply_grants(relation, config.get('grants'), should_revoke=was_there) %}
  {{ run_hooks(post_hooks, inside_transaction=True) }}
  {{ adapter.commit() }}
  {{ run_hooks(post_hooks, inside_transaction=False) }}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}
