select id, customer, amount, at::timestamptz as at from {{ ref('raw_orders') }} where customer is not null
