-- label 1 was asked for on the 5th: of the purchases of that day it knows nothing
select * from {{ ref('churn_training') }} where label_id = 1 and spend__spend_7d <> 32.25
