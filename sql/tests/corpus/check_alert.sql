CHECK ALERT a;
check alert public."A";
