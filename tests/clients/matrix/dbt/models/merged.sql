{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key=['id','customer'], on_schema_change='append_new_columns') }}
select id, customer, amount from {{ ref('orders') }}
