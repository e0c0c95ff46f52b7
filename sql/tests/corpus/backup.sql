BACKUP TO '/backups/granary';
BACKUP TO 's3://bucket/granary' KEEP 14;
