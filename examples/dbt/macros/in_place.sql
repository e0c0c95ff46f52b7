{# Views and tables are replaced in place, so that feature views over them stay: dbt wants the project to say so. #}
{% materialization view, adapter='postgres' %}{{ return(granary.materialization_view_postgres()) }}{% endmaterialization %}
{% materialization table, adapter='postgres' %}{{ return(granary.materialization_table_postgres()) }}{% endmaterialization %}
