{{ config(materialized='table') }}
select plan, count(*) as labels, sum(spend__spend_7d) as spend
from (select profile__plan as plan, spend__spend_7d from {{ ref('churn_training') }}) t
group by plan
