{{ config(materialized='table', contract={'enforced': true}) }}
select customer::text as customer, count(*)::bigint as n from {{ ref('eph') }} group by 1
