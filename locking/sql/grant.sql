-- grant: gives a request names on which there is nobody, exactly as Picture.grant would, in one round trip.
--
-- Tables     {names}, {requests}, {claims}
-- Arguments  wanted: the names, modes: of each, asker: the row of the request; since, ends, arrival and fence are set here,
--            ticket: the id under which the request may wait, or empty
-- Result     the fence; null if anybody is on a name or the request is known, or a name has no row yet
-- O(names). The rows of the names are locked in order; each statement sees what was committed before it began,
-- which only READ COMMITTED grants; under another default of the server the answer is null.
DECLARE
    known bigint;
    last bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN NULL;
    END IF;
    SELECT count(*), max(locked.fence) INTO known, last
    FROM (SELECT n.fence FROM {names} n WHERE n.name = ANY (wanted) ORDER BY n.name FOR UPDATE) locked;
    IF known < cardinality(wanted)
        OR EXISTS (SELECT FROM {claims} c WHERE c.name = ANY (wanted))
        OR EXISTS (SELECT FROM {requests} r WHERE r.id IN (asker.id, ticket))
    THEN
        RETURN NULL;
    END IF;
    asker.since := extract(epoch FROM clock_timestamp());
    asker.arrival := asker.since;
    asker.ends := asker.since + least(asker.lease, asker.max_hold);
    asker.fence := greatest(last + 1, (asker.since * 1e6)::bigint);
    INSERT INTO {requests} SELECT asker.*;
    INSERT INTO {claims} (name, request, mode)
    SELECT w.name, asker.id, w.mode FROM unnest(wanted, modes) w (name, mode);
    UPDATE {names} n
    SET fence = asker.fence, exclusive_fence = CASE WHEN w.mode = 'x' THEN asker.fence ELSE n.exclusive_fence END
    FROM unnest(wanted, modes) w (name, mode) WHERE n.name = w.name;
    RETURN asker.fence;
END
