"""Can the judge fail? Each test alters a sound history in one place."""
import copy
import sys
import types
import unittest

from history import Answer, Job
from judge import Row, Tenant, judge


def stamp(when):
    return types.SimpleNamespace(seconds=int(when), nanos=int(when % 1 * 1e9))


def reserve(begin, told, until, period=0):
    return Answer(begin, begin, told, types.SimpleNamespace(
        reservation_id="r", expire_time=stamp(until),
        quotas=[types.SimpleNamespace(limit_id="tokens", period_start=stamp(period))]))


def committed(begin, told, units, attempt="1.1", late=False):
    return Answer(begin, begin, told, types.SimpleNamespace(
        committed=[types.SimpleNamespace(committed=units, debt=0)], attempt=attempt, late=late))


def sound():
    """Two jobs of 60 under 100, one after the other, and one of 30 that is released."""
    first = Job("a", "t", 60, reserve(1, 2, 100), [], committed(3, 4, 20), 20, ending=3)
    second = Job("b", "t", 60, reserve(5, 6, 100), [], committed(7, 8, 60, "1.2"), 60, ending=7)
    third = Job("c", "t", 30, reserve(9, 10, 100), ending=11)
    third.release = Answer(11, 11, 12, types.SimpleNamespace(attempt="1.3"))
    tenant = Tenant("t", 100, 7, [Row("a", "1.1", 20, 0, False, [(7, 0, 1, 20, 0)]),
                                  Row("b", "1.2", 60, 0, False, [(7, 0, 2, 60, 0)])],
                    {(7, 0): (80, 0, 2)}, [1, 2, 3])
    # 20 of 100 are committed when the third is held: 30 beside 80 would be too much.
    third.units = 20
    return [first, second, third], [tenant]


class Altered(unittest.TestCase):
    def setUp(self):
        self.jobs, self.tenants = copy.deepcopy(sound())

    def names(self, what, lost=()):
        wrong = judge(self.jobs, self.tenants, lost)
        self.assertTrue(any(each.startswith(what) for each in wrong), wrong or "nothing was named")

    def test_a_sound_history_is_sound(self):
        self.assertEqual(judge(self.jobs, self.tenants, ()), [])

    def test_an_acknowledged_commit_without_a_record(self):
        del self.tenants[0].rows[1]
        self.names("I1")

    def test_a_loss_that_was_none(self):
        self.jobs[0].extends.append(Answer(3, 3, 3, reason="READ_ONLY"))
        self.names("I1")

    def test_a_record_with_another_amount(self):
        self.tenants[0].rows[0].amount = 21
        self.names("I1")

    def test_a_record_of_another_attempt(self):
        self.tenants[0].rows[0].attempt = "9.9"
        self.names("I1")

    def test_two_records_of_one_job(self):
        self.tenants[0].rows.append(copy.deepcopy(self.tenants[0].rows[0]))
        self.names("I2")

    def test_a_gap_in_the_numbers(self):
        self.tenants[0].rows[1].counted = [(7, 0, 3, 60, 0)]
        self.names("I2")

    def test_more_than_the_cap(self):
        self.jobs[1].reserve.told = 2.5  # both are held at once
        self.names("I3")

    def test_a_hold_beside_too_much_that_is_committed(self):
        self.jobs[2].units = 30
        self.names("I3")

    def test_a_row_that_is_not_its_ledger(self):
        self.tenants[0].quotas[7, 0] = (81, 0, 2)
        self.names("I4")

    def test_a_quota_that_is_not_there(self):
        self.tenants[0].quotas.clear()
        self.names("I4")

    def test_released_and_recorded(self):
        self.tenants[0].rows.append(Row("c", "1.3", 20, 0, False, [(7, 0, 3, 20, 0)]))
        self.tenants[0].quotas[7, 0] = (100, 0, 3)
        self.names("I5")

    def test_a_live_hold_that_was_committed_late(self):
        self.jobs[0].commit.reply.late = True
        self.names("I6")

    def test_a_live_hold_whose_commit_was_refused(self):
        self.jobs[0].commit = Answer(3, 3, 4, None, "RELEASED")
        del self.tenants[0].rows[0]
        self.names("I6")

    def test_a_job_that_only_redis_knew(self):
        self.jobs[0].commit = Answer(3, 3, 4, None, "UNKNOWN_JOB")
        self.jobs[0].by_job = True
        del self.tenants[0].rows[0]
        self.tenants[0].rows[0].counted = [(7, 0, 1, 60, 0)]
        self.tenants[0].quotas[7, 0] = (60, 0, 1)
        self.names("I6", [(200, 201)])
        self.assertEqual(judge(self.jobs, self.tenants, [(2.5, 2.6)]), [])

    def test_events_with_a_gap(self):
        self.tenants[0].events = [1, 3]
        self.names("I8")

    def test_an_error_for_certain_that_was_none(self):
        self.jobs[0].commit = Answer(3, 3, 4, None, "OVERRUN")
        self.names("I9")

    def test_a_record_that_nobody_asked_for(self):
        self.tenants[0].rows.append(Row("z", "1.9", 0, 0, False, [(7, 0, 3, 0, 0)]))
        self.tenants[0].quotas[7, 0] = (80, 0, 3)
        self.names("I9")

    def test_a_call_without_an_end(self):
        self.jobs[2].release = Answer(11, 11, 111, None, "STUCK")
        self.names("I11")


if __name__ == "__main__":
    sys.exit(not unittest.main(exit=False, verbosity=2).result.wasSuccessful())
