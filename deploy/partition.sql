-- Partition the tables that grow by hash of instructor_id, on an empty database that is at head:
--
--     psql --set=ON_ERROR_STOP=1 --single-transaction --file=deploy/partition.sql console
--     flask database roles --apply
--
-- Each table is made anew with the same columns, keys, indexes, triggers and owner. Refused where there are rows.

SET search_path = public;

DO $$
DECLARE
    partitions CONSTANT integer := 8;
    growing CONSTANT text[] := ARRAY['rejected_payloads', 'audit_events', 'messages', 'conversations', 'customers'];
    name text;
    owner text;
    has_rows boolean;
    definition text;
    definitions text[] := '{}';
BEGIN
    FOREACH name IN ARRAY growing LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO has_rows;
        IF has_rows THEN
            RAISE EXCEPTION '% has rows: only an empty database can be partitioned', name;
        END IF;
        IF (SELECT relkind = 'p' FROM pg_class WHERE oid = name::regclass) THEN
            RAISE EXCEPTION '% is partitioned already', name;
        END IF;
    END LOOP;
    -- Keys before the foreign keys that need them, and each before the triggers.
    SELECT array_agg(statement ORDER BY place, statement) INTO definitions FROM (
        SELECT CASE contype WHEN 'f' THEN 3 ELSE 1 END AS place,
            format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
                AS statement
        FROM pg_constraint WHERE conrelid = ANY (growing::regclass[]) AND contype IN ('p', 'u', 'f')
        UNION ALL
        SELECT 2, pg_get_indexdef(indexrelid) FROM pg_index
        WHERE indrelid = ANY (growing::regclass[])
            AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))
        UNION ALL
        SELECT 4, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE tgrelid = ANY (growing::regclass[]) AND NOT tgisinternal
        UNION ALL
        -- A statement that names a partition does not run the trigger of its table.
        SELECT 5, replace(pg_get_triggerdef(oid), ' ON public.audit_events ', format(' ON public.audit_events_%s ', part))
        FROM pg_trigger, generate_series(0, partitions - 1) part
        WHERE tgrelid = 'audit_events'::regclass AND tgname = 'audit_events_append_only'
    ) made;
    FOREACH name IN ARRAY growing LOOP
        SELECT relowner::regrole::text INTO owner FROM pg_class WHERE oid = name::regclass;
        EXECUTE format('ALTER TABLE %I RENAME TO %I', name, 'former_' || name);
        EXECUTE format(
            'CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY HASH (instructor_id)',
            name, 'former_' || name
        );
        EXECUTE format('ALTER TABLE %I OWNER TO %s', name, owner);
        FOR part IN 0 .. partitions - 1 LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                name || '_' || part, name, partitions, part
            );
            EXECUTE format('ALTER TABLE %I OWNER TO %s', name || '_' || part, owner);
        END LOOP;
        EXECUTE format('DROP TABLE %I CASCADE', 'former_' || name);
    END LOOP;
    FOREACH definition IN ARRAY definitions LOOP
        EXECUTE definition;
    END LOOP;
END $$;
