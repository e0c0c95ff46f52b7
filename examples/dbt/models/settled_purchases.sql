select customer_id, bought_at, amount from {{ ref('purchases') }} where status = 'settled'
