{{ config(
    materialized='feature_view',
    entity='customer',
    timestamp='bought_at',
    features=[
      "count(*) over (last '7 days') as purchases_7d",
      "sum(amount) over (last '7 days') as spend_7d",
      "last(amount, 3) over (last '30 days') as last_amounts",
    ],
    options={'schedule': '1 day', 'start': '2024-01-01', 'trigger': 'manual', 'tags': {'team': 'growth'}},
) }}
select customer_id, bought_at, amount from {{ ref('settled_purchases') }}
