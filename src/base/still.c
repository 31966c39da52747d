#include "base/still.h"

#include "base/check.h"

#include <stdlib.h>

struct place {
    uint64_t key, print;
    int64_t looked_us; /* 0: free */
    struct still_entry entry;
};

struct still {
    size_t groups; /* of STILL_WAYS places */
    int64_t forget_us;
    struct place places[];
};

struct still *still_create(size_t places, int64_t forget_us)
{
    struct still *still;

    CHECK(places >= STILL_WAYS && (places & (places - 1)) == 0);
    still = calloc(1, sizeof(*still) + places * sizeof(still->places[0]));
    CHECK(still);
    still->groups = places / STILL_WAYS;
    still->forget_us = forget_us;
    return still;
}

void still_destroy(struct still *still)
{
    free(still);
}

struct still_entry *still_look(struct still *still, uint64_t key, uint64_t print, int64_t now_us)
{
    struct place *group = &still->places[(key & (still->groups - 1)) * STILL_WAYS];
    struct place *place = group;

    for (size_t i = 0; i < STILL_WAYS; i++) {
        if (group[i].looked_us != 0 && group[i].key == key) {
            place = &group[i];
            break;
        }
        if (group[i].looked_us < place->looked_us)
            place = &group[i];
    }
    if (place->looked_us == 0 || place->key != key) {
        if (place->looked_us != 0 && now_us - place->looked_us < still->forget_us)
            return NULL;
        *place = (struct place){.key = key, .print = print, .entry.since_us = now_us};
    } else if (place->print != print) {
        place->print = print;
        place->entry.since_us = now_us;
    }
    place->looked_us = now_us;
    return &place->entry;
}
