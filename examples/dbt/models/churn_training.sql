{{ config(materialized='dataset') }}
select l.label_id, l.asked_at, l.churned, f.*
from {{ ref('labels') }} l
left join {{ ref('churn') }} for system_time as of l.asked_at as f on f.customer_id = l.customer_id
