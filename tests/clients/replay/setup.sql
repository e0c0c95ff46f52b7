-- what the captured statements speak of, without what Granary has not: enums, foreign keys, columns of intervals
create schema ws;
create table ws.customers(id bigint primary key, name text not null, v varchar(20), n numeric(18,4), f4 real, f8 double precision, b boolean, d date, t time, ts timestamp, tstz timestamptz, j json, jb jsonb, u uuid, by bytea, ai int[], at text[], af float8[], iv text, i2 smallint, i4 integer default 7, m text);
comment on table ws.customers is 'customer entity'; comment on column ws.customers.name is 'the name';
create table ws.orders(oid_ bigint primary key, cust bigint, amt numeric(10,2), ts timestamptz);
create index on ws.orders(cust, ts desc);
create view ws.v_orders as select cust, sum(amt) s from ws.orders group by 1;
create materialized view ws.m_orders as select * from ws.v_orders;
insert into ws.customers values (1,'a','b',1.5,1.5,2.5,true,'2024-01-01','10:00','2024-01-01 10:00','2024-01-01 10:00+00','{"a":1}','{"a":1}','11111111-1111-1111-1111-111111111111','\x01ff','{1,2,NULL}','{a,b}','{1.5,NULL}','1 day 02:00',1,2,'ok');
insert into ws.orders select g, 1, g*1.5, to_timestamp(1704067200 + g * 60) from generate_series(1,1000) g;
