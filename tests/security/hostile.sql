-- Statements of hostile.py, one a line, in sections by what they attack. $name is replaced.

-- tables
ALTER TABLE $t ADD COLUMN stolen int
ALTER TABLE $t RENAME TO stolen
ALTER TABLE $t OWNER TO CURRENT_USER
ALTER TABLE $t DISABLE TRIGGER ALL
ALTER TABLE $t DISABLE TRIGGER USER
ALTER TABLE $t ENABLE ROW LEVEL SECURITY
ALTER TABLE $t DISABLE ROW LEVEL SECURITY
ALTER TABLE $t NO FORCE ROW LEVEL SECURITY
ALTER TABLE $t SET SCHEMA pg_catalog
ALTER TABLE $t SET UNLOGGED
ALTER TABLE $t REPLICA IDENTITY FULL
DROP TABLE $t
DROP TABLE $t CASCADE
CREATE INDEX ON $t ((1))
CREATE TRIGGER stolen BEFORE INSERT ON $t EXECUTE FUNCTION suppress_redundant_updates_trigger()
CREATE RULE stolen AS ON INSERT TO $t DO INSTEAD NOTHING
CREATE POLICY stolen ON $t USING (true)
CREATE STATISTICS stolen ON ctid, xmin FROM $t
COMMENT ON TABLE $t IS 'stolen'
REINDEX TABLE $t
COPY $t FROM '/etc/passwd'
COPY $t FROM PROGRAM 'id'
COPY $t TO '/tmp/stolen'
COPY $t TO PROGRAM 'cat'
COPY (TABLE $t) TO PROGRAM 'cat'
TRUNCATE $t CASCADE

-- tables without effect
ANALYZE $t
VACUUM $t
GRANT ALL ON $t TO $me
REVOKE ALL ON $t FROM PUBLIC

-- functions
SELECT pg_create_physical_replication_slot('stolen')
SELECT pg_create_logical_replication_slot('stolen', 'pgoutput')
SELECT pg_drop_replication_slot('stolen')
SELECT query_to_xml('SELECT * FROM pg_authid', true, true, '')
SELECT set_config('session_replication_role', 'replica', false)
SELECT set_config('row_security', 'off', true), count(*) FROM pg_authid
SELECT set_config('log_statement', 'all', false)
SELECT set_config('role', 'console_migrate', false)
SELECT set_config('session_authorization', 'postgres', false)
SELECT loread(lo_open(lo_create(0), 131072), 1)
SELECT lo_from_bytea(4711, 'x')
SELECT lo_import('/etc/passwd')
SELECT pg_cancel_backend($backend)
SELECT pg_terminate_backend($backend)
SELECT pg_log_backend_memory_contexts($backend)

-- catalogs
INSERT INTO pg_catalog.$t DEFAULT VALUES
UPDATE pg_catalog.$t SET $c = $c
DELETE FROM pg_catalog.$t
TRUNCATE pg_catalog.$t

-- settings
ALTER SYSTEM RESET ALL
ALTER DATABASE $d RESET ALL
ALTER ROLE ALL SET row_security = off

-- other roles
SET ROLE $r
SET SESSION AUTHORIZATION $r
GRANT $r TO $me

-- other roles of ours
ALTER ROLE $r PASSWORD 'stolen'
ALTER ROLE $r NOLOGIN
ALTER ROLE $r RENAME TO stolen
ALTER ROLE $r SET statement_timeout = 1
ALTER ROLE $r CREATEROLE
DROP ROLE $r
COMMENT ON ROLE $r IS 'stolen'
REASSIGN OWNED BY $r TO $me
DROP OWNED BY $r CASCADE
ALTER DEFAULT PRIVILEGES FOR ROLE $r GRANT ALL ON TABLES TO $me

-- itself
DROP OWNED BY $me
ALTER ROLE $me SUPERUSER
ALTER ROLE $me CREATEDB
ALTER ROLE $me CREATEROLE
ALTER ROLE $me REPLICATION
ALTER ROLE $me BYPASSRLS
ALTER ROLE $me CONNECTION LIMIT 9
ALTER ROLE $me VALID UNTIL 'infinity'
ALTER ROLE $me NOLOGIN
ALTER ROLE $me NOINHERIT
ALTER ROLE $me SET session_replication_role = replica
ALTER ROLE $me SET log_statement = 'none'

-- creation
CREATE TABLE stolen (x int)
CREATE TEMP TABLE stolen (x int)
CREATE UNLOGGED TABLE stolen (x int)
CREATE TABLE stolen AS SELECT 1
CREATE VIEW stolen AS SELECT 1
CREATE TEMP VIEW stolen AS SELECT 1
CREATE MATERIALIZED VIEW stolen AS SELECT 1
CREATE SEQUENCE stolen
CREATE TEMP SEQUENCE stolen
CREATE TYPE stolen AS (x int)
CREATE TYPE stolen AS ENUM ('x')
CREATE DOMAIN stolen AS int
CREATE SCHEMA stolen
CREATE SCHEMA AUTHORIZATION console_migrate
CREATE DATABASE stolen
CREATE ROLE stolen
CREATE ROLE stolen SUPERUSER
CREATE USER stolen
CREATE GROUP stolen
CREATE TABLESPACE stolen LOCATION '/tmp'
CREATE PUBLICATION stolen
CREATE PUBLICATION stolen FOR ALL TABLES
CREATE FOREIGN DATA WRAPPER stolen
CREATE COLLATION stolen FROM "C"
CREATE LANGUAGE stolen HANDLER plpgsql_call_handler
CREATE FUNCTION stolen() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE FUNCTION stolen() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'
CREATE FUNCTION stolen() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'
CREATE FUNCTION stolen(cstring) RETURNS int LANGUAGE c STRICT AS '/lib/libc.so.6', 'system'
CREATE FUNCTION stolen() RETURNS int LANGUAGE internal AS 'pg_backend_pid'
CREATE PROCEDURE stolen() LANGUAGE sql AS 'SELECT 1'
CREATE AGGREGATE stolen(int) (sfunc = int4pl, stype = int)
CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)
CREATE OPERATOR FAMILY stolen USING btree
CREATE CAST (text AS int) WITH INOUT AS IMPLICIT
CREATE CAST (int AS uuid) WITH INOUT
CREATE CONVERSION stolen FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1
CREATE TEXT SEARCH CONFIGURATION stolen (copy = simple)
CREATE TEXT SEARCH DICTIONARY stolen (template = simple)
CREATE TEXT SEARCH TEMPLATE stolen (lexize = dsimple_lexize)
CREATE EVENT TRIGGER stolen ON ddl_command_start EXECUTE FUNCTION event_trigger_in()
CREATE ACCESS METHOD stolen TYPE INDEX HANDLER bthandler
CREATE SUBSCRIPTION stolen CONNECTION '' PUBLICATION p WITH (connect = false)
SELECT 1 AS x INTO stolen
SELECT 1 AS x INTO TEMP stolen
CHECKPOINT
LOAD '/lib/libc.so.6'
ALTER SCHEMA public OWNER TO CURRENT_USER
ALTER SCHEMA public RENAME TO stolen
DROP SCHEMA public CASCADE
DROP DATABASE $d
DROP DATABASE postgres
ALTER DATABASE $d OWNER TO CURRENT_USER
ALTER DATABASE $d RENAME TO stolen
ALTER DATABASE $d CONNECTION LIMIT 0
ALTER DATABASE $d ALLOW_CONNECTIONS false
COMMENT ON DATABASE $d IS 'stolen'
COMMENT ON SCHEMA public IS 'stolen'
ALTER LANGUAGE plpgsql OWNER TO CURRENT_USER
ALTER TABLESPACE pg_default OWNER TO CURRENT_USER
DROP TABLESPACE pg_default
ALTER TYPE int4 OWNER TO CURRENT_USER
REINDEX SYSTEM $d
COPY (SELECT 1) TO '/tmp/stolen'
COPY (SELECT 1) TO PROGRAM 'id'
ALTER FUNCTION pg_catalog.length(text) LEAKPROOF
DROP FUNCTION pg_catalog.length(text)
ALTER OPERATOR = (int, int) SET (restrict = none)
DO 'BEGIN DELETE FROM audit_events; END'
DO 'BEGIN TRUNCATE audit_events; END'
DO 'BEGIN UPDATE audit_counter SET position = 0; END'
DO 'BEGIN DROP TABLE customers; END'
DO 'BEGIN ALTER TABLE conversations DISABLE TRIGGER ALL; END'
DO 'BEGIN CREATE TABLE stolen (x int); END'
DO 'BEGIN SET ROLE console_migrate; END'
DO 'BEGIN SET SESSION AUTHORIZATION postgres; END'
DO 'BEGIN PERFORM * FROM pg_authid; END'
DO 'BEGIN SET LOCAL session_replication_role = replica; END'
DO 'BEGIN GRANT console_migrate TO CURRENT_USER; END'
DO 'BEGIN PERFORM pg_read_file(''/etc/passwd''); END'

-- reads without effect
TABLE $t
SELECT $c FROM $t WHERE instructor_id = '$instructor'
SELECT $c FROM $t WHERE instructor_id <> '$own_instructor'
SELECT $c FROM $t WHERE true OR instructor_id IS NULL
SELECT $c FROM $t WHERE instructor_id::text LIKE '%'
SELECT $c FROM ONLY $t TABLESAMPLE SYSTEM (100)
SELECT $c FROM $t AS mine NATURAL FULL JOIN $t AS theirs
SELECT theirs.$c FROM $t AS mine RIGHT JOIN $t AS theirs ON mine.ctid = theirs.ctid
SELECT (SELECT array_agg(x::text) FROM (SELECT $c FROM $t) AS x)
SELECT string_agg($c::text, ',') FILTER (WHERE instructor_id = '$instructor') FROM $t
WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT $c, n FROM $t, r
WITH x AS MATERIALIZED (SELECT $c FROM $t) TABLE x
SELECT $c FROM $t UNION ALL SELECT $c FROM $t WHERE instructor_id = '$instructor'
SELECT $c, row_number() OVER (PARTITION BY instructor_id) FROM $t
SELECT x.$c FROM (VALUES ('$instructor'::uuid)) AS i (i), LATERAL (SELECT $c FROM $t WHERE instructor_id = i) AS x
SELECT $c FROM $t WHERE CASE WHEN instructor_id = '$instructor' THEN 1 / (0 * length($c::text)) ELSE 1 END = 1
SELECT $c FROM $t WHERE ('x' || $c::text)::int = 1 AND instructor_id <> '$own_instructor'
SELECT $c FROM $t WHERE set_config('a.b', $c::text, false) <> '' AND instructor_id = '$instructor'
SELECT $c FROM $t WHERE xmlparse(content $c::text) IS NULL AND instructor_id = '$instructor'
SELECT query_to_xml('SELECT $c FROM $t', true, true, '')
SELECT cursor_to_xml('none', 1, true, true, '') FROM $t WHERE instructor_id = '$instructor'
SELECT * FROM ts_stat('SELECT to_tsvector($c::text) FROM $t')
DO 'DECLARE x record; BEGIN FOR x IN SELECT $c FROM $t LOOP RAISE NOTICE ''%'', x; END LOOP; END'
PREPARE p AS SELECT $c FROM $t; EXECUTE p
BEGIN; DECLARE c CURSOR FOR SELECT $c FROM $t; FETCH ALL FROM c; COMMIT
SELECT to_jsonb(x) FROM (SELECT $c FROM $t) AS x
EXPLAIN (ANALYZE, VERBOSE, FORMAT json) SELECT $c FROM $t WHERE instructor_id = '$instructor'
SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE tablename = '$t'
SET row_security = off; SELECT $c FROM $t
SET console.instructors = ''; SELECT $c FROM $t
RESET ALL; SELECT $c FROM $t

-- writes
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) VALUES (gen_random_uuid(), '$conversation', '$own_instructor', 99, '{}')
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) VALUES (gen_random_uuid(), '$conversation', '$instructor', 99, '{}')
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) VALUES (gen_random_uuid(), '$own_conversation', '$instructor', 99, '{}')
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) VALUES (gen_random_uuid(), gen_random_uuid(), '$own_instructor', 99, '{}')
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) VALUES ('$own_event', '$own_conversation', '$own_instructor', 99, '{}')
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) VALUES ('$event', '$own_conversation', '$own_instructor', 99, '{}')
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) VALUES (gen_random_uuid(), '$own_conversation', '$own_instructor', 1, '{}')
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) SELECT event_id, conversation_id, instructor_id, sequence, event FROM audit_events
INSERT INTO audit_events (event_id, conversation_id, instructor_id, sequence, event) SELECT event_id, conversation_id, instructor_id, 99, event FROM audit_events ON CONFLICT (event_id, instructor_id) DO UPDATE SET event = '{}'
INSERT INTO audit_events VALUES (1, gen_random_uuid(), '$own_conversation', '$own_instructor', 9, '{}')
MERGE INTO audit_events AS a USING audit_events AS b ON a.event_id = b.event_id WHEN MATCHED THEN DELETE
WITH gone AS (DELETE FROM audit_events RETURNING *) SELECT * FROM gone
INSERT INTO customers (id, instructor_id, channel, normalized_identifier, created_at) VALUES (gen_random_uuid(), '$instructor', 'whatsapp', '393330000001', now())
INSERT INTO customers (id, instructor_id, channel, normalized_identifier, created_at) VALUES (gen_random_uuid(), '$instructor', 'whatsapp', '$identifier', now()) ON CONFLICT DO NOTHING
INSERT INTO customers (id, instructor_id, channel, normalized_identifier, created_at) VALUES (gen_random_uuid(), '$instructor', 'whatsapp', '$identifier', now()) ON CONFLICT (instructor_id, channel, normalized_identifier) DO UPDATE SET normalized_identifier = '1'
INSERT INTO customers (id, instructor_id, channel, normalized_identifier, created_at) SELECT gen_random_uuid(), '$instructor', channel, normalized_identifier, now() FROM customers
MERGE INTO customers AS a USING customers AS b ON a.id = b.id WHEN MATCHED THEN DELETE
UPDATE conversations SET customer_id = '$customer' WHERE id = '$own_conversation'
UPDATE conversations SET customer_id = gen_random_uuid() WHERE id = '$own_conversation'
UPDATE conversations SET link_operation_id = '$event' WHERE id = '$own_conversation'
UPDATE conversations SET instructor_id = '$own_instructor' WHERE id = '$conversation'
UPDATE conversations SET customer_identifier = '1' WHERE id = '$own_conversation'
INSERT INTO link_operations (operation_id, instructor_id, conversation_id) VALUES ('$event', '$own_instructor', '$own_conversation')
INSERT INTO link_operations (operation_id, instructor_id, conversation_id) VALUES (gen_random_uuid(), '$instructor', '$conversation')
INSERT INTO link_operations (operation_id, instructor_id, conversation_id) SELECT gen_random_uuid(), '$instructor', conversation_id FROM link_operations
UPDATE link_operations SET digest = NULL
DELETE FROM link_operations
UPDATE users SET session_epoch = session_epoch - 1
UPDATE users SET session_epoch = session_epoch - session_epoch
UPDATE users SET session_epoch = session_epoch + 2
UPDATE users SET session_epoch = session_epoch + 3
UPDATE users SET session_epoch = session_epoch + 100
UPDATE users SET session_epoch = session_epoch - 2147483647
UPDATE users SET session_epoch = session_epoch * 0 + 2147483647
UPDATE users SET session_epoch = session_epoch * 0 - 1
UPDATE users SET session_epoch = 0 WHERE session_epoch > 0
UPDATE users SET session_epoch = DEFAULT WHERE session_epoch > 0
UPDATE users SET session_epoch = NULL
UPDATE users SET active = true
INSERT INTO memberships SELECT user_id, '$instructor', 'operator' FROM memberships
UPDATE memberships SET role = 'operator'
WITH x AS (UPDATE users SET session_epoch = session_epoch + 2 RETURNING *) SELECT * FROM x

-- writes without effect
UPDATE conversations SET customer_id = NULL WHERE id = '$conversation'
UPDATE conversations SET audit_outbox = NULL WHERE instructor_id = '$instructor'
UPDATE conversations SET link_version = 0 WHERE instructor_id <> '$own_instructor'
UPDATE conversations AS a SET link_version = 0 FROM conversations AS b WHERE a.id = b.id AND b.instructor_id = '$instructor'
SELECT id FROM conversations WHERE id = '$conversation' FOR UPDATE
