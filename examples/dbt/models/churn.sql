{{ config(materialized='feature_service', options={'cache': '60 s'}) }}
{{ ref('spend') }} (spend_7d, purchases_7d),
{{ ref('profile') }} (plan)
