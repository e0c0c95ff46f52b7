{{ config(
    materialized='feature_view',
    entity='customer',
    timestamp='updated_at',
    options={'start': '2024-01-01', 'trigger': 'manual'},
) }}
select customer_id, updated_at, country, plan from {{ ref('customers') }}
