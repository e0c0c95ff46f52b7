CREATE API KEY FOR app;
CREATE API KEY ci FOR "Deploy";
CREATE API KEY IF NOT EXISTS ci FOR app WITH (expires = '90 days') COMMENT 'build';
