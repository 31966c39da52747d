#include "tests/sim/chaos.h"

#include "base/check.h"

#include <stddef.h>

enum fate chaos_fate(struct chaos *chaos, const struct chaos_rates *rates)
{
    const int64_t of[] = {
        [FATE_REFUSED] = rates->refused,       [FATE_LOST_BEFORE] = rates->lost_before,
        [FATE_LOST_AFTER] = rates->lost_after, [FATE_LATE] = rates->late,
        [FATE_CUT] = rates->cut,
    };

    for (size_t fate = FATE_REFUSED; fate < ARRAY_COUNT(of); fate++)
        if (dice_one_in(&chaos->dice, of[fate])) {
            chaos->faults++;
            return (enum fate)fate;
        }
    return FATE_DONE;
}

int64_t chaos_delay_us(struct chaos *chaos, const struct chaos_rates *rates)
{
    if (chaos->latency_us == 0)
        return 0;
    if (dice_one_in(&chaos->dice, rates->stalled))
        return dice_between(&chaos->dice, 1000000, 5000000);
    if (dice_one_in(&chaos->dice, rates->slow))
        return dice_between(&chaos->dice, 5000, 400000);
    return dice_between(&chaos->dice, chaos->latency_us / 4, chaos->latency_us);
}
