{% macro quoted(text) -%}
  '{{ text | replace("'", "''") }}'
{%- endmacro %}

{% macro comment(text) -%}
  {% if text %} comment {{ granary.quoted(text) }}{% endif %}
{%- endmacro %}

{# Texts are quoted; numbers and true, false are not; a mapping is one of tags. #}
{% macro option_value(value) -%}
  {%- if value is mapping -%}
    ({% for key, one in value | dictsort %}{{ granary.quoted(key) }} = {{ granary.quoted(one | string) }}{{ ', ' if not loop.last }}{% endfor %})
  {%- elif value is string -%} {{ granary.quoted(value) }}
  {%- else -%} {{ value | string | lower }}
  {%- endif -%}
{%- endmacro %}

{% macro with_options(options) -%}
  {% if options %} with (
    {%- for name, value in options | dictsort %}{{ name }} = {{ granary.option_value(value) }}{{ ', ' if not loop.last }}{% endfor -%}
  ){% endif %}
{%- endmacro %}

{# The kind of feature object that has the name of a model; none if there is none. #}
{% macro kind_of(relation) %}
  {% set found = run_query(
    "select kind from ("
    ~ "select schema, name, 'feature view' as kind from granary.feature_views"
    ~ " union all select schema, name, 'feature service' from granary.services"
    ~ " union all select schema, name, 'dataset' from granary.datasets where is_newest) k"
    ~ " where schema = " ~ granary.quoted(relation.schema) ~ " and name = " ~ granary.quoted(relation.identifier)
  ) %}
  {{ return(found.columns[0].values()[0] if found.rows | length else none) }}
{% endmacro %}

{# Makes way for a feature object: drops what has its name and is of another kind, with what depends on it. Whether it is there already. #}
{% macro make_way(relation, kind) %}
  {% set found = granary.kind_of(relation) %}
  {% set cached = load_cached_relation(relation) %}
  {% if found is none and cached is not none %}
    {% do adapter.drop_relation(cached) %}
  {% elif found != kind %}
    {% do granary.drop_feature_object(relation) %}
  {% endif %}
  {{ return(found == kind) }}
{% endmacro %}

{# Makes way for a view or a table. #}
{% macro drop_feature_object(relation) %}
  {% set found = granary.kind_of(relation) %}
  {% if found is not none %}
    {% do run_query('drop ' ~ found ~ ' ' ~ relation ~ ' cascade') %}
    {% do adapter.cache_dropped(relation) %}
  {% endif %}
{% endmacro %}
