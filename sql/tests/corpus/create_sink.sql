CREATE SINK spend_out FROM user_spend TO KAFKA (brokers 'kafka:9092', topic 'spend', format json);
CREATE OR REPLACE SINK s FROM public.v TO KAFKA (brokers = 'a:1,b:2', topic = 'x', format = json, sasl.mechanism = 'PLAIN', start earliest) WITH (owner = 'me');
CREATE SINK IF NOT EXISTS public.s FROM v TO CHANNEL changed COMMENT 'what changes';
