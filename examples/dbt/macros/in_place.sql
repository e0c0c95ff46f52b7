{# Views and tables are replaced in place, so that feature views over them stay: dbt wants the project to say so. #}
{% materialization view, adapter='postgres' %}{{ return(granary.materialization_view_postgres()) }}{% endmaterialization %}
{% materialization table, adapter='postgres' %}{{ return(granary.materialization_table_postgres()) }}{% endmaterialization %}

{# So are the rows of a seed: a TRUNCATE would be a change in the catalog's history. #}
{% macro postgres__truncate_relation(relation) %}
  {% call statement('truncate_relation') %}delete from {{ relation }}{% endcall %}
{% endmacro %}
