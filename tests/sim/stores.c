#include "tests/sim/stores.h"

#include "tests/sim/fibre.h"

static void pause_ms(int ms)
{
    fibre_sleep_us(ms * INT64_C(1000));
}

const struct store_table sim_stores = {
#define X(name, real) .name = sim_##name,
    SIM_STORES_MAP(X)
#undef X
    .pause_ms = pause_ms,
};
