-- Distribute the tables by instructor_id on Citus 12 or newer, on an empty database that is at head, on the coordinator,
-- after the workers were added (citus_add_node):
--
--     psql --set=ON_ERROR_STOP=1 --file=deploy/citus.sql console
--     flask database roles --apply
--
-- Written against Citus's documentation, and not run: docs/operations.md, More than one machine.

SET search_path = public;

-- Row security on a worker reads what a transaction says with SET LOCAL.
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET citus.propagate_set_commands = %L', current_database(), 'local');
END $$;

-- Only the release before link_operations needs this trigger; a distributed table takes none.
DROP TRIGGER IF EXISTS conversations_note_operation ON conversations;

-- The trigger on users looks at its own row alone, so it holds on every copy.
SET citus.enable_unsafe_triggers = on;
SELECT create_reference_table('instructors');
SELECT create_reference_table('users');
SELECT create_reference_table('memberships');
SELECT create_reference_table('channel_accounts');
-- One key over all instructors; and as every link writes it, every link commits in two phases.
SELECT create_reference_table('link_operations');

SELECT create_distributed_table('customers', 'instructor_id');
SELECT create_distributed_table('conversations', 'instructor_id', colocate_with => 'customers');
SELECT create_distributed_table('messages', 'instructor_id', colocate_with => 'customers');
SELECT create_distributed_table('rejected_payloads', 'instructor_id', colocate_with => 'customers');
-- audit_events and audit_counter stay on the coordinator: their triggers give positions without a gap.
