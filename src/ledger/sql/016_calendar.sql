-- Calendars: periods of a day and longer in a time zone, from an anchor. Postgres knows the zones. Each
-- boundary between two periods is written once, one period ahead, and everybody reads only what is
-- written: a change of tzdata alters what is not written yet, and all servers agree at each boundary.
--
-- The role of the service needs SELECT, INSERT and UPDATE on calendar, SELECT, INSERT and DELETE on boundary.
CREATE TABLE calendar (
    calendar_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    period_kind smallint NOT NULL CHECK (period_kind BETWEEN 4 AND 7),
    time_zone text COLLATE "C" NOT NULL CHECK (octet_length(time_zone) BETWEEN 1 AND 64),
    anchor timestamp NOT NULL,
    written_ms bigint NOT NULL DEFAULT 0,
    UNIQUE (period_kind, time_zone, anchor)
);
CREATE INDEX calendar_written ON calendar (written_ms);
COMMENT ON TABLE calendar IS 'What limits with the same period, zone and offset share. Never deleted.';
COMMENT ON COLUMN calendar.anchor IS
    'Local time of the nominal beginning of period 0, in 1970, for years in 1972.';
COMMENT ON COLUMN calendar.written_ms IS
    'The last boundary but one: from here on the next one is to be written.';

CREATE TABLE boundary (
    calendar_id bigint NOT NULL REFERENCES calendar,
    n bigint NOT NULL,
    at_ms bigint NOT NULL CHECK (at_ms >= 0),
    PRIMARY KEY (calendar_id, n)
);
CREATE UNIQUE INDEX boundary_at ON boundary (calendar_id, at_ms);
COMMENT ON TABLE boundary IS
    'Where a period ends and the next one begins. Written under the lock of the calendar, never changed; 40 days after its end a period''s go.';
COMMENT ON COLUMN boundary.n IS
    'Number of the period that begins. One without length, of a day that a zone left out, is not here.';

ALTER TABLE limit_ ADD COLUMN time_zone text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE limit_ ADD COLUMN anchor_ms bigint;
ALTER TABLE limit_ ADD COLUMN calendar_id bigint REFERENCES calendar;
COMMENT ON COLUMN limit_.time_zone IS 'As it was given; never changes. Empty: UTC.';
COMMENT ON COLUMN limit_.anchor_ms IS 'As it was given; never changes.';
COMMENT ON COLUMN limit_.calendar_id IS
    'Null: a plain period in UTC, without an anchor. period_kind is 16 more where there is one.';
COMMENT ON COLUMN limit_.period_kind IS
    'holdfast.v1.Period: 1 never, 2 minute, 3 hour, 4 day, 5 week, 6 month, 7 year. 16 more where there is a calendar: a server that knows none must not take it for a plain period.';

-- Names as IANA has them: no abbreviation, no rule, nothing that depends on the machine.
CREATE FUNCTION calendar_zone_known(zone text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM calendar WHERE time_zone = zone)
        OR (zone !~ '^(posix|right)/' AND zone NOT IN ('localtime', 'posixrules', 'Factory')
            AND EXISTS (SELECT FROM pg_timezone_names WHERE name = zone))
$$;

-- The nominal local time at which period n begins. The day of a month that is too short is its last one,
-- and comes back in the next.
CREATE FUNCTION calendar_nominal(kind smallint, anchor timestamp, n bigint) RETURNS timestamp
LANGUAGE sql IMMUTABLE AS $$
    SELECT anchor + n * CASE kind WHEN 4 THEN interval '1 day' WHEN 5 THEN interval '7 days'
        WHEN 6 THEN interval '1 month' WHEN 7 THEN interval '1 year' END
$$;

-- The earliest instant whose local time reaches the nominal one. As the rule says it: zones have been
-- whole minutes from UTC since 1972, and less than 16 hours.
CREATE FUNCTION calendar_instant(zone text, nominal timestamp) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT floor(extract(epoch FROM min(at)) * 1000)::bigint
    FROM generate_series(nominal AT TIME ZONE 'UTC' - interval '16 hours',
                         nominal AT TIME ZONE 'UTC' + interval '16 hours', interval '1 minute') AS at
    WHERE at AT TIME ZONE zone >= nominal
$$;

-- Writes the boundaries of a calendar up to the end of the period after the current one. Those of periods
-- that have been over for 40 days go: no hold and no late Commit reaches back that far.
CREATE FUNCTION calendar_write(which bigint, now_ms bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c record;
    newest record;
    number bigint;
    instant bigint;
    today timestamp;
BEGIN
    SELECT * INTO c FROM calendar k WHERE k.calendar_id = which FOR NO KEY UPDATE;
    SELECT n, at_ms INTO newest FROM boundary b WHERE b.calendar_id = which ORDER BY n DESC LIMIT 1;
    IF NOT FOUND THEN
        today := (timestamptz 'epoch' + now_ms * interval '1 millisecond') AT TIME ZONE c.time_zone;
        number := 1 + CASE c.period_kind
            WHEN 4 THEN today::date - c.anchor::date
            WHEN 5 THEN (today::date - c.anchor::date) / 7
            WHEN 6 THEN (extract(year FROM today) - extract(year FROM c.anchor)) * 12 + extract(month FROM today)
            WHEN 7 THEN extract(year FROM today) - extract(year FROM c.anchor) END;
        LOOP
            instant := calendar_instant(c.time_zone, calendar_nominal(c.period_kind, c.anchor, number));
            EXIT WHEN instant <= now_ms;
            number := number - 1;
        END LOOP;
        INSERT INTO boundary VALUES (which, number, instant) RETURNING n, at_ms INTO newest;
        c.written_ms := 0;
    END IF;
    number := newest.n;
    instant := newest.at_ms;
    WHILE c.written_ms <= now_ms LOOP
        number := number + 1;
        instant := calendar_instant(c.time_zone, calendar_nominal(c.period_kind, c.anchor, number));
        CONTINUE WHEN instant <= newest.at_ms;
        INSERT INTO boundary VALUES (which, number, instant);
        c.written_ms := newest.at_ms;
        newest.at_ms := instant;
    END LOOP;
    DELETE FROM boundary b WHERE b.calendar_id = which AND b.at_ms < (
        SELECT max(p.at_ms) FROM boundary p WHERE p.calendar_id = which
            AND p.at_ms <= now_ms - 40 * 86400000::bigint); -- DAY_IN_MS, quota/times.h
    UPDATE calendar k SET written_ms = c.written_ms
        WHERE k.calendar_id = which AND k.written_ms < c.written_ms;
END
$$;

-- The calendar of a period in a zone whose offset is that of an anchor, with its boundaries.
CREATE FUNCTION calendar_open(kind smallint, zone text, anchor_ms bigint, now_ms bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    local timestamp := date_trunc('minute', (timestamptz 'epoch' + anchor_ms * interval '1 millisecond') AT TIME ZONE zone);
    day date := CASE
        WHEN anchor_ms IS NULL OR kind = 4 THEN date '1970-01-01'
        WHEN kind = 5 THEN date '1970-01-05' + (extract(isodow FROM local)::integer - 1)
        WHEN kind = 6 THEN date '1970-01-01' + (extract(day FROM local)::integer - 1)
        WHEN kind = 7 THEN to_date('1972-' || to_char(local, 'MM-DD'), 'YYYY-MM-DD') END;
    opened bigint;
BEGIN
    IF anchor_ms IS NULL AND kind = 5 THEN
        day := date '1970-01-05';
    ELSIF anchor_ms IS NULL AND kind = 7 THEN
        day := date '1972-01-01';
    END IF;
    local := day + coalesce(local::time, time '00:00');
    opened := (SELECT calendar_id FROM calendar
               WHERE period_kind = kind AND time_zone = zone AND anchor = local);
    IF opened IS NULL THEN
        INSERT INTO calendar (period_kind, time_zone, anchor) VALUES (kind, zone, local)
            ON CONFLICT (period_kind, time_zone, anchor) DO UPDATE SET time_zone = EXCLUDED.time_zone
            RETURNING calendar_id INTO opened;
    END IF;
    IF EXISTS (SELECT FROM calendar WHERE calendar_id = opened AND written_ms <= now_ms) THEN
        PERFORM calendar_write(opened, now_ms);
    END IF;
    RETURN opened;
END
$$;
