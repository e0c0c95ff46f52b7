{{ config(materialized='table', indexes=[{'columns': ['customer'], 'unique': true}]) }}
select customer, sum(amount) as total, count(*) as orders from {{ ref('orders') }} group by customer
