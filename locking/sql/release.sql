-- release: forgets a request for whose names nobody waits, exactly as SqlStore.release would, in one round trip.
--
-- Tables     {names}, {requests}, {claims}
-- Arguments  gone: the id of the request
-- Result     whether it held a lock that was still good; null if somebody waits, who has to be granted the names
-- O(names). The rows of the names are locked in order; each statement sees what was committed before it began,
-- which only READ COMMITTED grants; under another default of the server the answer is null.
DECLARE
    held bytea[] := ARRAY(SELECT c.name FROM {claims} c WHERE c.request = gone);
    good boolean;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN NULL;
    END IF;
    PERFORM FROM {names} n WHERE n.name = ANY (held) ORDER BY n.name FOR UPDATE;
    IF EXISTS (
        SELECT FROM {claims} c JOIN {requests} r ON r.id = c.request
        WHERE c.name = ANY (held) AND c.request <> gone AND r.state IN ('waiting', 'upgrading'))
    THEN
        RETURN NULL;
    END IF;
    DELETE FROM {claims} c WHERE c.request = gone;
    DELETE FROM {requests} r WHERE r.id = gone
    RETURNING r.state IN ('held', 'upgrading') AND r.ends > extract(epoch FROM clock_timestamp()) INTO good;
    RETURN coalesce(good, false);
END
