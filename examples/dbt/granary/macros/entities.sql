{# Declares the entities in `vars: entities:` of dbt_project.yml; for on-run-start. #}
{% macro create_entities() %}
  {% if execute %}
    {% for name, entity in var('entities', {}).items() %}
      {% set keys = [] %}
      {% for key, type in entity['keys'].items() %}{% do keys.append(adapter.quote(key) ~ ' ' ~ type) %}{% endfor %}
      {% call statement('entity') %}
        create schema if not exists {{ adapter.quote(target.schema) }};
        create or replace entity {{ granary.entity_name(name) }} ({{ keys | join(', ') }})
          {{- granary.with_options(entity.get('options')) -}}
          {{- granary.comment(entity.get('description')) }}
      {% endcall %}
    {% endfor %}
  {% endif %}
{% endmacro %}

{# An entity is in the target's schema unless its name says another. #}
{% macro entity_name(name) -%}
  {{ name if '.' in name else adapter.quote(target.schema) ~ '.' ~ adapter.quote(name) }}
{%- endmacro %}
